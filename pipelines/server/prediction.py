"""A prediction in JSON: from the body of the request to the body of the answer."""

import contextlib
import functools
from dataclasses import dataclass

from . import json_process, json_tensors
from .body import Content, decompress
from .engine import Engine
from .versions import Loaded


@dataclass(frozen=True)
class Prediction:
    """A version of a model and the engine that runs it, for one request.

    Attributes:
        engine: The engine that runs the model.
        name: Name of the model.
        number: Number of the version; None for the default one.
        deadline: Time by which it must be answered, in `time.monotonic()`.
    """

    engine: Engine
    name: str
    number: int | None
    deadline: float

    async def answer(self, content: Content, encoding: str) -> bytes:
        """Answers a body.

        Other threads than those that run models read compressed bodies and JSON with many values,
        so that small requests need not wait for these.

        Raises:
            ServingError: If the request is refused.
        """
        engine, deadline = self.engine, self.deadline
        with contextlib.ExitStack() as stack:
            if encoding != "identity":
                stack.enter_context(engine.large_places.take())
                limit = engine.limits.max_request_bytes
                unpack = functools.partial(decompress, content, encoding, limit)
                content = await engine.unpacking.do(unpack)
            loaded = stack.enter_context(engine.catalog.use(self.name, self.number))
            if json_process.has_few_values(content):
                work = functools.partial(self._read_and_run, loaded, content)
            else:
                if encoding == "identity":
                    stack.enter_context(engine.large_places.take())
                signatures = loaded.model.signatures
                read = functools.partial(engine.json.read, content, signatures, deadline)
                work = functools.partial(self._run, loaded, await engine.reading.do(read))
                del read
            del content
            return await engine.computing.do(work)

    def _read_and_run(self, loaded: Loaded, content: Content) -> bytes:
        return self._run(loaded, json_tensors.read(content, loaded.model.signatures))

    def _run(self, loaded: Loaded, asked: json_tensors.Asked) -> bytes:
        outputs = self.engine.run(
            loaded, asked.inputs, signature=asked.signature, deadline=self.deadline
        )
        if sum(array.size for array in outputs.values()) <= json_process.FEW:
            return json_tensors.write(outputs, rows=asked.rows)
        # Waited for here: too many outputs that wait for their turn might not fit into the memory.
        return self.engine.json.write(outputs, rows=asked.rows, deadline=self.deadline)
