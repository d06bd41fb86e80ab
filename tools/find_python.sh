#!/bin/sh
# Print a Python interpreter that is new enough: $PYTHON if set, else the first that is found.
newest=
for python in ${PYTHON:-python3.11 python3 python3.12 python3.13 python3.14 python}; do
    path=$(command -v "$python" 2>/dev/null) || continue
    version=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "$path"
        exit 0
    fi
    newest="$newest $python is $version;"
done
if [ -n "$newest" ]; then
    echo "QuantaCore needs Python 3.11 or newer, and here$newest install one," >&2
    echo "or name it: make PYTHON=/path/to/python3.11" >&2
else
    echo "QuantaCore needs Python 3.11 or newer, and none was found${PYTHON:+ at $PYTHON}: install one, or name it:" >&2
    echo "make PYTHON=/path/to/python3.11" >&2
fi
exit 1
