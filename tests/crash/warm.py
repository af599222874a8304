"""What processes of these tests are forked from: everything is imported, and nothing runs."""

import duckdb  # noqa: F401
import numpy  # noqa: F401
import pyarrow.compute
import pyarrow.parquet  # noqa: F401

import datasnap.edits.rows
import datasnap.merge.tables
import datasnap.repository
import datasnap.tables.ingest
import datasnap.tables.optimize
import datasnap.tables.scan
import datasnap.verify  # noqa: F401
import tests.crash.life  # noqa: F401
