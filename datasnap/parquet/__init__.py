"""The only place that knows Parquet's bytes: column chunks in, virtual files out."""

from datasnap.parquet.columns import (
    EncodedColumn,
    Encoding,
    Leaf,
    PageLayout,
    encode_columns,
    header_size,
    leaf_types,
    only_leaf,
    parse_record,
)
from datasnap.parquet.pages import Pages, find_pages, take_pages
from datasnap.parquet.stored import restore, stored_type, to_stored
from datasnap.parquet.virtual import (
    MAGIC,
    Fetch,
    Placed,
    RowGroup,
    Span,
    VirtualFile,
    VirtualReader,
    check_schema,
)

__all__ = [
    "MAGIC",
    "EncodedColumn",
    "Encoding",
    "Fetch",
    "Leaf",
    "PageLayout",
    "Pages",
    "Placed",
    "RowGroup",
    "Span",
    "VirtualFile",
    "VirtualReader",
    "check_schema",
    "encode_columns",
    "find_pages",
    "header_size",
    "leaf_types",
    "only_leaf",
    "parse_record",
    "restore",
    "stored_type",
    "take_pages",
    "to_stored",
]
