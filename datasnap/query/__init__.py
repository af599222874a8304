"""SQL and paths over snapshots: the fsspec file system, and DuckDB connections."""
