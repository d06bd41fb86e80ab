"""What the assembler says when something is wrong: where, what, what it got, and the fix."""

import dataclasses

__all__ = ["Line", "Diagnostic", "SourceError", "AssemblyError"]


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a source file.

    Attributes
    ----------
    file : str
        As the user named it.
    number : int
        From 1; 0 where there is no text (a program that was built in Python).
    text : str
    trace : tuple of str
        Macros and repetitions that led here, the innermost first.
    """

    file: str
    number: int
    text: str
    trace: tuple = ()

    def __str__(self):
        return f"{self.file}:{self.number}" if self.number else self.file


@dataclasses.dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong.

    Attributes
    ----------
    line : Line
    column : int
        From 1; 0 for the whole line.
    width : int
        Characters that the caret marks.
    message, fix : str
        What is wrong and what it got; what to do.
    severity : str
        "error" or "warning".
    """

    line: Line
    column: int
    width: int
    message: str
    fix: str = ""
    severity: str = "error"

    def __str__(self):
        place = f"{self.line}:{self.column}" if self.column else str(self.line)
        out = [f"{place}: {self.severity}: {self.message}"]
        if self.line.text.strip():
            number = f"{self.line.number:5d}"
            out.append(f"{number} | {self.line.text.rstrip()}")
            if self.column:
                # Tabs stay tabs, so that the caret stands below what it means.
                lead = "".join(c if c == "\t" else " " for c in self.line.text[:self.column - 1])
                out.append(f"{' ' * len(number)} | {lead}{'^' * max(1, self.width)}")
        if self.fix:
            out.append(f"      fix: {self.fix}")
        out += [f"      {step}" for step in self.line.trace]
        return "\n".join(out)


class SourceError(Exception):
    """Something is wrong at a token; the assembler makes a :class:`Diagnostic` of it.

    Parameters
    ----------
    message : str
    token : Token or None
        Where; ``None`` is the whole statement.
    fix : str
    """

    def __init__(self, message, token=None, fix=""):
        super().__init__(message)
        self.message, self.token, self.fix = message, token, fix


class AssemblyError(ValueError):
    """A program could not be assembled.

    Attributes
    ----------
    diagnostics : list of Diagnostic
        Errors and warnings, in the order of the source.
    """

    def __init__(self, diagnostics):
        self.diagnostics = list(diagnostics)
        errors = sum(d.severity == "error" for d in self.diagnostics)
        text = "\n".join(map(str, self.diagnostics))
        super().__init__(f"{text}\n{errors} error{'s' if errors != 1 else ''}")
