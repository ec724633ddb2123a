"""Arrow tables as pandas frames. Needs pyarrow and pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sftools.errors import SftoolsError

if TYPE_CHECKING:
    import pandas
    import pyarrow

INSTALL = "pip install 'sftools[pandas]'"


def dataframe(table: pyarrow.Table) -> pandas.DataFrame:
    """A frame with the columns of a table from sftools.render.arrow.

    Numbers are Int64 and booleans boolean, which hold every value beside a missing one; times datetime64[ns, UTC];
    texts and lists are objects, None where there is none. Raises SftoolsError where pandas is missing.
    """
    try:
        import pandas
    except ImportError:
        raise SftoolsError(f"data frames need pandas, which is not installed: {INSTALL}") from None
    return pandas.DataFrame({name: _series(table.column(name)) for name in table.column_names}, copy=False)


def _series(column: pyarrow.ChunkedArray) -> Any:
    import numpy
    import pandas
    import pyarrow

    if pyarrow.types.is_list(column.type):
        return pandas.Series(column.to_pylist(), dtype=object)
    if pyarrow.types.is_dictionary(column.type):
        # Rows that have the same text have the same object.
        array = column.unify_dictionaries().combine_chunks()
        texts = numpy.array([*array.dictionary.to_pylist(), None], dtype=object)
        return pandas.Series(texts[array.indices.fill_null(-1).to_numpy(zero_copy_only=False)], dtype=object)
    nullable = {pyarrow.int64(): pandas.Int64Dtype(), pyarrow.bool_(): pandas.BooleanDtype()}
    return column.to_pandas(types_mapper=nullable.get)
