"""Answering a batch: merge what may be merged, predict, cut the answer up again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from server.worker import logs
from server.worker.frames import Answer, Outcome
from server.worker.protocol import (
    EncodingError,
    InvalidInput,
    ModelError,
    Protocol,
    Request,
    error_body,
)

# Merging is given up for good after this many merged predictions that failed although each
# request alone was answered.
_TROUBLE_LIMIT = 3


@dataclass(frozen=True, slots=True)
class _Member:
    """One request of a batch, and its place in it."""

    index: int
    request_id: str
    request: Request


class Predictor:
    """Answers batches with one loaded model.

    Args:
        protocol: Reads, predicts and writes.
        merge_formats: Request formats whose requests may share a prediction.
        max_rows: Most rows in a merged prediction.
    """

    def __init__(self, protocol: Protocol, merge_formats: frozenset[str], max_rows: int) -> None:
        self._protocol = protocol
        self._merge_formats = merge_formats
        self._max_rows = max_rows
        self._trouble = 0

    @property
    def merges(self) -> bool:
        """Whether requests may still share a prediction."""
        return bool(self._merge_formats)

    def answer(self, parts: Sequence[memoryview]) -> Iterator[list[Answer]]:
        """Answer the requests of a PREDICT frame, a group at a time, as soon as each is done."""
        members, refused = self._parse(parts)
        if refused:
            yield refused
        for group in self._groups(members):
            yield self._predict_group(group)

    def _parse(self, parts: Sequence[memoryview]) -> tuple[list[_Member], list[Answer]]:
        members: list[_Member] = []
        refused: list[Answer] = []
        for index, start in enumerate(range(0, len(parts), 3)):
            content_type, request_id, body = parts[start : start + 3]
            name = str(request_id, "latin-1")
            try:
                request = self._protocol.parse(str(content_type, "latin-1"), body)
            except InvalidInput as error:
                refused.append(_refusal(index, error))
            except Exception as error:
                refused.append(_internal_error(index, name, error))
            else:
                members.append(_Member(index, name, request))
        return members, refused

    def _groups(self, members: list[_Member]) -> Iterator[list[_Member]]:
        """Yield what is predicted together, in the order in which the first of each came."""
        groups: dict[object, list[_Member]] = {}
        rows: dict[object, int] = {}
        for member in members:
            request = member.request
            if request.merge_key is None or request.format not in self._merge_formats:
                groups[object()] = [member]
                continue
            key: object = request.merge_key
            count = request.rows or 0
            if key in groups and rows[key] + count > self._max_rows:
                # The group is full: it keeps its place under another name.
                groups[object()] = groups.pop(key)
            groups.setdefault(key, []).append(member)
            rows[key] = count if len(groups[key]) == 1 else rows[key] + count
        yield from groups.values()

    def _predict_group(self, group: list[_Member]) -> list[Answer]:
        if len(group) == 1:
            return [self._predict_alone(group[0])]
        try:
            requests = [member.request for member in group]
            merged = self._protocol.merge(requests)
            counts = [request.rows or 0 for request in requests]
            shares = self._protocol.split(self._protocol.predict(merged), counts)
            return [
                Answer(member.index, 200, Outcome.OK, self._protocol.encode(member.request, share))
                for member, share in zip(group, shares, strict=True)
            ]
        except (Exception, SystemExit) as error:
            # One bad row must not spoil its neighbours' answers.
            answers = [self._predict_alone(member) for member in group]
            if all(answer.outcome is Outcome.OK for answer in answers):
                self._note_trouble(error)
            return answers

    def _predict_alone(self, member: _Member) -> Answer:
        with logs.request_id(member.request_id):
            try:
                predictions = self._protocol.predict(member.request)
                body = self._protocol.encode(member.request, predictions)
            except InvalidInput as error:
                return _refusal(member.index, error)
            except (ModelError, SystemExit) as error:
                cause = error.__cause__ or error
                logs.log.error("prediction_failed", exc_info=cause)
                message = str(error) or type(cause).__name__
                if isinstance(error, SystemExit):
                    message = "the model ended the process"
                return Answer(
                    member.index, 400, Outcome.MODEL_ERROR, error_body("BAD_REQUEST", message)
                )
            except EncodingError as error:
                logs.log.error("prediction_failed", exc_info=error)
                return Answer(
                    member.index,
                    500,
                    Outcome.INTERNAL_ERROR,
                    error_body("INTERNAL_ERROR", str(error)),
                )
            except Exception as error:
                return _internal_error(member.index, member.request_id, error)
        return Answer(member.index, 200, Outcome.OK, body)

    def _note_trouble(self, error: BaseException) -> None:
        self._trouble += 1
        if self._trouble == _TROUBLE_LIMIT:
            self._merge_formats = frozenset()
            logs.log.warning(
                "merging_turned_off",
                extra={"fields": {"error": f"{type(error).__name__}: {error}"}},
            )


def _refusal(index: int, error: InvalidInput) -> Answer:
    body = error_body("BAD_REQUEST", error.message)
    return Answer(index, error.status, Outcome.INVALID_INPUT, body)


def _internal_error(index: int, request_id: str, error: Exception) -> Answer:
    with logs.request_id(request_id):
        logs.log.error("prediction_failed", exc_info=error)
    body = error_body("INTERNAL_ERROR", "the answer could not be made; the server's log says why")
    return Answer(index, 500, Outcome.INTERNAL_ERROR, body)
