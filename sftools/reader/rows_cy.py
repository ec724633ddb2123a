"""The row: a record of a trace, joined with the entities that it refers to. One object, which moves.

Entities are kept as their encoded bytes and become objects when somebody asks for one, and then once.
"""

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.sftools.avro.decoder_cy import RecordCursor
else:
    from sftools.avro.decoder_cy import RecordCursor

from sftools import limits
from sftools.avro.slots import SLOTS
from sftools.schema.objtypes import BRANCHES

_HEADER = cython.declare(cython.int, BRANCHES["SFHeader"])
_CONTAINER = cython.declare(cython.int, BRANCHES["Container"])
_PROCESS = cython.declare(cython.int, BRANCHES["Process"])
_FILE = cython.declare(cython.int, BRANCHES["File"])
_POD = cython.declare(cython.int, BRANCHES["Pod"])
_K8S_EVENT = cython.declare(cython.int, BRANCHES["K8sEvent"])

_HPID = cython.declare(cython.int, SLOTS["procOID.hpid"])
_CREATE_TS = cython.declare(cython.int, SLOTS["procOID.createTS"])
_OWN_HPID = SLOTS["oid.hpid"]
_OWN_CREATE_TS = SLOTS["oid.createTS"]
_PARENT_HPID = SLOTS["poid.hpid"]
_PARENT_CREATE_TS = SLOTS["poid.createTS"]
_OID = cython.declare(cython.int, SLOTS["oid"])
_FILE_OID = cython.declare(cython.int, SLOTS["fileOID"])
_NEW_FILE_OID = cython.declare(cython.int, SLOTS["newFileOID"])
_ID = cython.declare(cython.int, SLOTS["id"])
_CONTAINER_ID = cython.declare(cython.int, SLOTS["containerId"])
_POD_ID = cython.declare(cython.int, SLOTS["podId"])

# Numbers of the entities of a row, for owner(). STATE is the process or, without one, the file.
HEADER, POD, CONTAINER, PROCESS, PARENT, FILE, NEW_FILE, STATE = range(8)
_OF_HEADER = cython.declare(cython.int, HEADER)
_OF_POD = cython.declare(cython.int, POD)
_OF_CONTAINER = cython.declare(cython.int, CONTAINER)
_OF_PROCESS = cython.declare(cython.int, PROCESS)
_OF_PARENT = cython.declare(cython.int, PARENT)
_OF_FILE = cython.declare(cython.int, FILE)
_OF_NEW_FILE = cython.declare(cython.int, NEW_FILE)

# What an entity takes beside twice its bytes: itself, its place in a table, its object.
_OVERHEAD = cython.declare(cython.Py_ssize_t, 500)

_MAX_ANCESTORS = cython.declare(cython.int, limits.MAX_ANCESTORS)


@cython.cclass
class Entity:
    """An entity as it stands in the trace.

    parts: texts that renderers made of it, by the piece of their template. cost: about how many bytes of memory it
    takes, with its object.
    """

    @property
    def typed(self):
        """The object of sftools.schema.sysflow. Raises DecodeError."""
        if self.made is None:
            self.made = self.plan.typed(self.raw)
        return self.made


@cython.cclass
class Recent:
    """A dict of entities of at most `room` bytes, which drops those not used while half of that filled up."""

    def __init__(self, room):
        self.half = room // 2
        self.young = {}
        self.old = {}

    def get(self, key):
        value: Entity = self.young.get(key)
        if value is None and self.old:
            value = self.old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key, value):
        if self.filled + value.cost > self.half:
            self.old = self.young
            self.young = {}
            self.filled = 0
        self.young[key] = value
        self.filled += value.cost
        return 0


@cython.cclass
class Tables:
    """The entities that a trace has told of. Bounded: limits.MAX_JOINED_*."""

    def __init__(self):
        self.begin(None)

    def begin(self, header):
        """Anew: the entities of a file stand in the same file."""
        self.header = header
        self.processes = Recent(limits.MAX_JOINED_PROCESS_BYTES)
        self.files = Recent(limits.MAX_JOINED_FILE_BYTES)
        self.containers = Recent(limits.MAX_JOINED_CONTAINER_BYTES)
        self.pods = Recent(limits.MAX_JOINED_CONTAINER_BYTES)
        self.changes += 1
        return 0

    def resolve(self, process):
        """Find a process's parent, container and pod as they are now."""
        process.parent = self.processes.get(process.parent_key) if process.parent_key is not None else None
        process.container = self.containers.get(process.up_id) if process.up_id is not None else None
        process.pod = None
        if process.container is not None and process.container.up_id is not None:
            process.pod = self.pods.get(process.container.up_id)
        process.resolved = self.changes
        return 0


@cython.cclass
class Row:
    """Stands on a record of a trace, after advance().

    plan: of the trace's schema. entities: whether to stop at entities, too. branch: the type of the record, as
    objtypes.BRANCHES numbers it; -1 before the first. index: how many events and flows came before. lacks: fields
    of the newest schema that the trace's lacks, such as "Process.entry".
    """

    def __init__(self, plan, entities: bool = False):
        self.cursor = RecordCursor(plan)
        self.tables = Tables()
        self.entities = entities
        self.branch = -1
        self.index = -1
        self.lacks = plan.lacks
        self.plan = plan

    def load(self, data, count):
        """Stand before the first of `count` records in an expanded block."""
        self.branch = -1
        return self.cursor.load(data, count)

    def advance(self):
        """Move to the next event or flow of the block; false behind the last.

        Raises DecodeError behind the last sound one.
        """
        branch: cython.int
        self.branch = -1
        self.made = None
        while self.cursor.advance():
            branch = self.cursor.branch
            if branch <= _FILE or branch == _POD:
                self.remember()
                if not self.entities:
                    continue
            else:
                self.index += 1
                if branch == _K8S_EVENT:
                    self.clear()
                else:
                    self.join()
            self.branch = branch
            return True
        return False

    def clear(self):
        """No entities but the header."""
        self.header_entity = self.tables.header
        self.pod_entity = None
        self.container_entity = None
        self.process_entity = None
        self.parent_entity = None
        self.file_entity = None
        self.new_file_entity = None
        return 0

    def remember(self):
        """The record is an entity: keep it, and link it to those above it."""
        cursor: RecordCursor = self.cursor
        tables: Tables = self.tables
        entity: Entity = Entity()
        branch: cython.int = cursor.branch
        entity.branch = branch
        entity.raw = cursor.raw()
        entity.cost = 2 * len(entity.raw) + _OVERHEAD
        entity.plan = cursor.plan
        if branch == _FILE:
            tables.files.put(cursor.span(_OID), entity)
            if self.entities:
                self.clear()
                self.file_entity = entity
                up_id: bytes = cursor.span(_CONTAINER_ID)
                if up_id is not None:
                    self.container_entity = tables.containers.get(up_id)
                    if self.container_entity is not None and self.container_entity.up_id is not None:
                        self.pod_entity = tables.pods.get(self.container_entity.up_id)
        elif branch == _PROCESS:
            if cursor.number(_PARENT_HPID) is not None:
                entity.parent_key = (cursor.number(_PARENT_HPID), cursor.number(_PARENT_CREATE_TS))
            entity.up_id = cursor.span(_CONTAINER_ID)
            entity.key = (cursor.number(_OWN_HPID), cursor.number(_OWN_CREATE_TS))
            tables.processes.put(entity.key, entity)
            tables.changes += 1
            if self.entities:
                self.clear()
                self.link(entity)
        elif branch == _CONTAINER:
            entity.up_id = cursor.span(_POD_ID)
            tables.containers.put(cursor.span(_ID), entity)
            tables.changes += 1
            if self.entities:
                self.clear()
                self.container_entity = entity
                if entity.up_id is not None:
                    self.pod_entity = tables.pods.get(entity.up_id)
        elif branch == _POD:
            tables.pods.put(cursor.span(_ID), entity)
            tables.changes += 1
            if self.entities:
                self.clear()
                self.pod_entity = entity
        else:
            tables.begin(entity)
            if self.entities:
                self.clear()
        return 0

    def join(self):
        """The record is an event or a flow of a process."""
        cursor: RecordCursor = self.cursor
        tables: Tables = self.tables
        process: Entity
        hpid: cython.longlong = cursor.value[_HPID]
        create_ts: cython.longlong = cursor.value[_CREATE_TS]
        # Most records are of the process of the one before.
        if self.last_changes == tables.changes and hpid == self.last_hpid and create_ts == self.last_create_ts:
            process = self.last_process
        else:
            process = tables.processes.get((hpid, create_ts))
            self.last_process = process
            self.last_hpid = hpid
            self.last_create_ts = create_ts
            self.last_changes = tables.changes
        self.header_entity = tables.header
        if process is None:
            self.clear()
        else:
            self.link(process)
        self.file_entity = None
        self.new_file_entity = None
        if cursor.present >> _FILE_OID & 1:
            self.file_entity = tables.files.get(cursor.span(_FILE_OID))
            if cursor.present >> _NEW_FILE_OID & 1:
                self.new_file_entity = tables.files.get(cursor.span(_NEW_FILE_OID))
        return 0

    def link(self, process):
        """Have the row refer to a process and to what is above it."""
        if process.resolved != self.tables.changes:
            self.tables.resolve(process)
        self.process_entity = process
        self.parent_entity = process.parent
        self.container_entity = process.container
        self.pod_entity = process.pod
        return 0

    def owner(self, number):
        """The entity with a number: HEADER, POD, ... or None."""
        if number == _OF_PROCESS:
            return self.process_entity
        if number == _OF_PARENT:
            return self.parent_entity
        if number == _OF_FILE:
            return self.file_entity
        if number == _OF_CONTAINER:
            return self.container_entity
        if number == _OF_POD:
            return self.pod_entity
        if number == _OF_HEADER:
            return self.header_entity
        if number == _OF_NEW_FILE:
            return self.new_file_entity
        return self.file_entity if self.process_entity is None else self.process_entity

    # -- for all

    def snapshot(self):
        """A row of its own that stays on this record."""
        row: Row = Row.__new__(Row)
        row.cursor = self.cursor.copy()
        row.tables = self.tables
        row.branch = self.branch
        row.index = self.index
        row.lacks = self.lacks
        row.plan = self.plan
        row.made = self.made
        row.header_entity = self.header_entity
        row.pod_entity = self.pod_entity
        row.container_entity = self.container_entity
        row.process_entity = self.process_entity
        row.parent_entity = self.parent_entity
        row.file_entity = self.file_entity
        row.new_file_entity = self.new_file_entity
        return row

    def packed(self) -> tuple:
        """What restore() takes: index, the record's bytes, its entities, and what ancestors() looks them up in."""
        entities = (
            self.header_entity, self.pod_entity, self.container_entity, self.process_entity, self.parent_entity,
            self.file_entity, self.new_file_entity,
        )  # fmt: skip
        return self.index, self.cursor.raw(), entities, self.tables

    def restore(self, index, raw: bytes, entities: tuple, tables):
        """Stand on a record that another row gave as packed(); its schema has to be the same.

        tables: None where nobody will ask for the ancestors.
        """
        self.cursor.load(raw, 1)
        self.cursor.advance()
        self.branch = self.cursor.branch
        self.index = index
        self.made = None
        self.header_entity, self.pod_entity, self.container_entity = entities[0], entities[1], entities[2]
        self.process_entity, self.parent_entity = entities[3], entities[4]
        self.file_entity, self.new_file_entity = entities[5], entities[6]
        if tables is not None:
            self.tables = tables

    def number(self, slot: cython.int):
        """A number of the record itself, by its slot (sftools.avro.slots); None where it has none."""
        return self.cursor.number(slot)

    def span(self, slot: cython.int):
        """The bytes of a string or fixed value of the record itself, by its slot; None where it has none."""
        return self.cursor.span(slot)

    @property
    def record(self):
        """The record as an object of sftools.schema.sysflow. Raises DecodeError."""
        if self.made is None:
            self.made = self.cursor.typed()
        return self.made

    @property
    def header(self):
        """The trace's SFHeader, or None."""
        return None if self.header_entity is None else self.header_entity.typed

    @property
    def pod(self):
        """The Pod of the container, or None."""
        return None if self.pod_entity is None else self.pod_entity.typed

    @property
    def container(self):
        """The Container of the process, or None."""
        return None if self.container_entity is None else self.container_entity.typed

    @property
    def process(self):
        """The Process, or None where the trace does not tell of it."""
        return None if self.process_entity is None else self.process_entity.typed

    @property
    def parent(self):
        """The Process that started it, or None."""
        return None if self.parent_entity is None else self.parent_entity.typed

    @property
    def file(self):
        """The File of a FileEvent or FileFlow, or None."""
        return None if self.file_entity is None else self.file_entity.typed

    @property
    def new_file(self):
        """The second File of a FileEvent, or None."""
        return None if self.new_file_entity is None else self.new_file_entity.typed

    def ancestors(self) -> list:
        """The process itself, its parent, and so on: Process objects, as far as the trace tells of them.

        A process that is its own ancestor, and more of them than limits.MAX_ANCESTORS, end the list.
        """
        out: list = []
        seen: set = set()
        entity: Entity = self.process_entity
        while entity is not None and len(out) < _MAX_ANCESTORS:
            out.append(entity.typed)
            seen.add(entity.key)
            if entity.parent_key is None or entity.parent_key in seen:
                break
            entity = self.tables.processes.get(entity.parent_key)
        return out

    def process_of(self, hpid, create_ts):
        """The Process with this OID as the trace tells of it now, or None."""
        entity: Entity = self.tables.processes.get((hpid, create_ts))
        return None if entity is None else entity.typed


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
