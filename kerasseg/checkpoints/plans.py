"""Plans: how the tensors of a source become a network, tried out before memory is allocated."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras

from . import assign
from .prefixes import Chosen, SeveralNetworksError, State, choose
from .untold import UntoldError, untold


class Plan:
    """A network of a source, with the arguments that the caller determines.

    Args:
        source: The module of the source, with its rename tables, or a `BareEncoder`. It may have a
            function `adapt(state, network)` that returns the tensors in the form of our layers,
            such as queries, keys and values in one array; it is called before they are renamed.
            Its function `respell(state)`, if any, undoes what a library does to names.
        model: Name of the architecture.
        num_classes: Number of classes; None to read it from the tensors.
        reset_head: Whether the classifier may keep its initial weights if it has another number of
            classes.
        options: Arguments of the architecture that do not follow from the tensors.
        configured: Arguments that a configuration or the catalogue tells. They count where neither
            the tensors nor `options` tell something else.
    """

    def __init__(
        self,
        source: Any,
        model: str,
        num_classes: int | None,
        reset_head: bool,
        options: dict[str, Any],
        configured: Mapping[str, Any] | None = None,
    ):
        self._source = source
        self._model = model
        self._num_classes = num_classes
        self._reset_head = reset_head
        self._options = options
        self._configured = dict(configured or {})
        self._renames = source.renames(model)

    def choose(self, state: State, prefix: str | None) -> Chosen:
        """Chooses the network's tensors among those of a file; see `prefixes.choose`."""
        clean = getattr(self._source, "clean", None)
        respell = getattr(self._source, "respell", None)
        if respell is not None:
            state = respell(state)
        try:
            if clean is not None:
                return choose(clean(state), self._is_alike, self._fits, prefix)
            return assign.choose(state, self._is_alike, self._fits, prefix)
        except SeveralNetworksError as error:
            raise ValueError(f"{error} Say which (--prefix; in Python, prefix).") from error

    def knows(self, state: State, prefix: str | None) -> bool:
        """Tells whether the names of the tensors are those of this network."""
        try:
            return self._is_alike(self.choose(state, prefix).tensors)
        except ValueError:  # several such networks
            return True

    def fits(self, state: State, prefix: str | None) -> bool:
        """Tells whether the tensors fit this network one by one."""
        try:
            return self._fits(self.choose(state, prefix).tensors)
        except ValueError:
            return False

    def contradictions(self, state: State) -> list[str]:
        """Describes each argument for which the tensors tell another value than `configured`."""
        inferred = self._infer(state)
        return [
            f"{name} is {inferred[name]} by the tensors, and not {value}"
            for name, value in self._configured.items()
            if name in inferred and name not in self._options and inferred[name] != value
        ]

    def check_complete(self, state: State, assumed: Sequence[str] = ()) -> None:
        """Checks that the tensors or the caller tell all arguments of the network.

        Args:
            state: The network's tensors.
            assumed: Names of arguments with values that nobody told.

        Raises:
            UntoldError: If an argument is missing.
        """
        arguments, _ = self._arguments(state)
        known = {name: value for name, value in arguments.items() if name not in assumed}
        missing = untold(self._source, self._model, known)
        if missing:
            raise UntoldError(missing)

    def build(self, state: State, *, allow_non_finite: bool) -> keras.Model:
        """Builds the network with the tensors as its weights.

        The network is first built without memory for values, because wrong sizes in the tensors
        could ask for any amount of memory.

        Raises:
            ValueError: If tensors are left over, missing, of another shape, or not finite.
        """
        arguments, keep_heads = self._arguments(state)
        drawn = self._draw(arguments)
        state = self._adapted(state, drawn)
        _, problems = assign.match(drawn, state, self._renames, keep_heads=keep_heads)
        if problems:
            raise ValueError(assign.describe(drawn.name, problems))
        built = assign.build(self._model, arguments)
        assign.fill(
            built,
            state,
            self._renames,
            keep_heads=keep_heads,
            allow_non_finite=allow_non_finite,
        )
        return built

    def _is_alike(self, state: State) -> bool:
        if not state or not assign.have_places(state, self._renames):
            return False
        try:
            self._arguments(state)
        except ValueError:
            return False
        return True

    def _fits(self, state: State) -> bool:
        arguments, keep_heads = self._arguments(state)
        drawn = self._draw(arguments)
        state = self._adapted(state, drawn)
        return not assign.match(drawn, state, self._renames, keep_heads=keep_heads)[1]

    def _adapted(self, state: State, drawn: keras.Model) -> State:
        """Returns the tensors in the form of our layers, if the source has them in another."""
        adapt = getattr(self._source, "adapt", None)
        return state if adapt is None else adapt(state, drawn)

    def _arguments(self, state: State) -> tuple[dict[str, Any], bool]:
        """Returns the architecture's arguments, and whether its classifier is not filled."""
        inferred = self._infer(state)
        stored_classes = inferred.pop("num_classes", None)
        configured = dict(self._configured)
        configured.pop("num_classes", None)
        if self._num_classes is not None:
            inferred["num_classes"] = self._num_classes
        elif stored_classes is not None:
            inferred["num_classes"] = stored_classes
        keep_heads = self._reset_head and self._num_classes not in (None, stored_classes)
        told = {**configured, **inferred, **self._options}
        return {**told, **self._encoder(inferred)}, keep_heads

    def _infer(self, state: State) -> dict[str, Any]:
        try:
            return self._source.infer(state, self._model)
        except KeyError as error:
            raise ValueError(
                f"state must be that of a {self._model} of {self._name}, got no tensor {error}."
            ) from error
        except (IndexError, TypeError) as error:
            raise ValueError(
                f"state must be that of a {self._model} of {self._name}, got a tensor of another "
                f"number of dimensions ({error})."
            ) from error

    def _encoder(self, inferred: dict[str, Any]) -> dict[str, Any]:
        """Returns the encoder with the argument that the tensors tell if the caller gives none."""
        told, given = inferred.get("encoder", ""), self._options.get("encoder")
        return {"encoder": told} if given == told.partition(":")[0] else {}

    @property
    def _name(self) -> str:
        return self._source.__name__.rpartition(".")[2].replace("_", "-")

    def _draw(self, arguments: dict[str, Any]) -> keras.Model:
        """Builds the network without values; its variables have only names and shapes."""

        def draw() -> keras.Model:
            with keras.StatelessScope(initialize_variables=False):
                return assign.build(self._model, arguments)

        # Keras gives such variables values when the next such scope of their thread ends: this one
        # has no other.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(draw).result()
