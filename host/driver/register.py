"""Registers as objects: what the generated :mod:`quantacore.host.driver.registers` is made of.

A block's class has one descriptor a register; on an instance the descriptor gives a
:class:`BoundRegister` (or a :class:`RegisterArray` of them), whose methods talk to the node.
"""

from quantacore.host.driver.link import Driver

__all__ = ["Fields", "Register", "BoundRegister", "RegisterArray", "BoundMemory",
           "RegisterBlock"]


class Fields:
    """Base of a register's fields: attributes with integer or enumeration values."""

    #: name -> (offset, bits, enumeration or None)
    LAYOUT = {}
    __slots__ = ()

    def __init__(self, **values):
        for name in self.LAYOUT:
            setattr(self, name, 0)
        for name, value in values.items():
            self._place(name)
            setattr(self, name, value)

    @classmethod
    def _place(cls, name):
        try:
            return cls.LAYOUT[name]
        except KeyError:
            raise AttributeError(f"{cls.__name__} has no field {name!r}; it has "
                                 f"{', '.join(cls.LAYOUT)}") from None

    @classmethod
    def pack(cls, values):
        """``(mask, bits)`` of some fields given as a dictionary."""
        mask = bits = 0
        for name, value in values.items():
            offset, width, values_of = cls._place(name)
            number = int(value)
            if not 0 <= number < 1 << width:
                raise ValueError(f"{cls.__name__}.{name} must be 0 to {(1 << width) - 1}, "
                                 f"not {value!r}")
            if values_of is not None:
                values_of(number)
            mask |= (1 << width) - 1 << offset
            bits |= number << offset
        return mask, bits

    @classmethod
    def from_bits(cls, bits):
        self = cls()
        for name, (offset, width, values_of) in cls.LAYOUT.items():
            value = bits >> offset & (1 << width) - 1
            if values_of is not None:
                try:
                    value = values_of(value)
                except ValueError:
                    pass  # a code that this release does not name stays a number
            setattr(self, name, value)
        return self

    def __int__(self):
        return self.pack({name: getattr(self, name) for name in self.LAYOUT})[1]

    def __eq__(self, other):
        return type(other) is type(self) and int(other) == int(self)

    __hash__ = None

    def __repr__(self):
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.LAYOUT)
        return f"{type(self).__name__}({inside})"


class Register:
    """Descriptor of a register or an array of registers.

    Parameters
    ----------
    name : str
        ``block.register``.
    address : int
        In words.
    width : int
        Bits, up to 64.
    access : str
        ``rw``, ``ro``, ``wo`` or ``w1c``.
    signed : bool
    count : int or None
    type : type or None
        :class:`Fields` subclass or enumeration.
    unit, doc : str
    memory : int or None
        Depth, for a memory.
    """

    def __init__(self, name, address, *, width=32, access="rw", signed=False, count=None,
                 type=None, unit="", doc="", memory=None):
        self.name = name
        self.address = address
        self.width = width
        self.access = access
        self.signed = signed
        self.count = count
        self.type = type
        self.unit = unit
        self.memory = memory
        self.words = 2 if width > 32 else 1
        self.__doc__ = doc

    def __set_name__(self, owner, name):
        self._attribute = name

    def __get__(self, block, owner=None):
        if block is None:
            return self
        if self.memory is not None:
            bound = BoundMemory(self, block.client)
        elif self.count is not None:
            bound = RegisterArray(self, block.client)
        else:
            bound = BoundRegister(self, block.client, self.address)
        block.__dict__[self._attribute] = bound  # found first from now on
        return bound

    @property
    def limits(self):
        """Smallest and largest value."""
        if self.signed:
            return -1 << self.width - 1, (1 << self.width - 1) - 1
        return 0, (1 << self.width) - 1


class BoundRegister(Driver):
    """One register of a node. Reads and writes of 64-bit registers are atomic."""

    def __init__(self, register, client, address, index=None):
        self.register = register
        self.client = client
        self.address = address
        self.name = register.name if index is None else f"{register.name}[{index}]"

    def __repr__(self):
        return f"<register {self.name} at {self.address:#06x}>"

    def _decode(self, bits):
        register = self.register
        if register.type is None:
            if register.signed and bits >> register.width - 1 & 1:
                return (bits & (1 << register.width) - 1) - (1 << register.width)
            return bits
        if issubclass(register.type, Fields):
            return register.type.from_bits(bits)
        try:
            return register.type(bits)
        except ValueError:
            return bits

    def _encode(self, value):
        register = self.register
        if isinstance(value, Fields) and (register.type is not type(value)):
            raise TypeError(f"{self.name} does not hold {type(value).__name__}")
        number = int(value)
        low, high = register.limits
        if not low <= number <= high:
            unit = f" {register.unit}" if register.unit else ""
            raise ValueError(f"{self.name} must be {low} to {high}{unit}, not {value!r}")
        return number & (1 << register.width) - 1

    async def read(self):
        """The value: an integer, an enumeration member or :class:`Fields`."""
        if self.register.words == 1:
            return self._decode(await self.client.read_word(self.address))
        low, high = await self.client.read(self.address, 2)
        return self._decode(low | high << 32)

    async def write(self, value=None, **fields):
        """Write a value, or fields by name (those not named become 0)."""
        if fields:
            value = self._fields().pack(fields)[1]
        bits = self._encode(value)
        if self.register.words == 1:
            await self.client.write_word(self.address, bits)
        else:
            await self.client.write(self.address, (bits & 0xFFFFFFFF, bits >> 32))

    async def modify(self, **fields):
        """Replace some fields in one request; return the value as it was."""
        mask, bits = self._fields().pack(fields)
        return self._decode(await self.client.modify(self.address, mask, bits))

    def _fields(self):
        if self.register.type is None or not issubclass(self.register.type, Fields):
            raise TypeError(f"{self.name} has no fields")
        return self.register.type

    async def write_at(self, tick, value):
        """Write the value at a tick of the node (registers of up to 32 bits)."""
        if self.register.words != 1:
            raise ValueError(f"{self.name} has {self.register.width} bits; a timed write takes 32")
        if self.register.access == "ro":
            raise ValueError(f"{self.name} can only be read")
        await self.client.write_at(tick, self.address, self._encode(value))


class RegisterArray(Driver):
    """Registers of one kind in a row."""

    def __init__(self, register, client):
        self.register = register
        self._elements = [BoundRegister(register, client, register.address + i * register.words, i)
                          for i in range(register.count)]
        self.client = client

    def __len__(self):
        return len(self._elements)

    def __getitem__(self, index):
        if not isinstance(index, int) or not 0 <= index < len(self._elements):
            raise IndexError(f"{self.register.name} has elements 0 to {len(self) - 1}, there is "
                             f"no number {index!r}")
        return self._elements[index]

    async def read(self):
        """All values as a list, each one atomic."""
        register = self.register
        words = await self.client.read(register.address, register.count * register.words)
        if register.words == 2:
            words = [low | high << 32 for low, high in zip(words[::2], words[1::2], strict=True)]
        return [e._decode(word) for e, word in zip(self._elements, words, strict=True)]


class BoundMemory(Driver):
    """A range of words that can be read."""

    def __init__(self, register, client):
        self.register = register
        self.client = client
        self.address = register.address
        self.name = register.name

    def __len__(self):
        return self.register.memory

    async def read(self, start=0, count=None):
        """Words from ``start`` on as a list; all by default."""
        count = len(self) - start if count is None else count
        if start < 0 or count < 0 or start + count > len(self):
            raise IndexError(f"{self.name} has words 0 to {len(self) - 1}, not {start} to "
                             f"{start + count - 1}")
        return await self.client.read(self.address + start, count) if count else []


class RegisterBlock(Driver):
    """The registers of one gateware block."""

    def __init__(self, client):
        self.client = client

    @classmethod
    def registers(cls):
        """Descriptors by name, in the order of addresses."""
        return {name: value for name, value in vars(cls).items() if isinstance(value, Register)}

    async def read_all(self):
        """Every register that can be read, memories excepted, as a dictionary."""
        return {name: await getattr(self, name).read() for name, r in self.registers().items()
                if r.access != "wo" and r.memory is None}
