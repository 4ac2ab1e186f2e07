"""The image index as one object: read and searched here, changed through its parts.

A crash at any point leaves something that is finished or removed later, and never a record without its object or an
object that nobody knows: see `stores.index.adding` and `stores.index.deleting`.

One embedder serves: its vectors are the ones searched. When another is configured, images get vectors of both while
the older ones get theirs, and then the new one takes over: see `stores.index.reembedding`.
"""

from __future__ import annotations

from typing import Final

from stores.database import Database, Value, Vectors
from stores.errors import EmbedderChanged
from stores.index.adding import Adding
from stores.index.deleting import Deleting
from stores.index.embedders import EmbedderVectors
from stores.index.records import (
    DEFAULT_PROJECT,
    MAX_PAGE,
    NO_FILTER,
    PROJECT_NAME,
    SELECT,
    Embedder,
    ImageFilter,
    ImageRecord,
    Page,
    Project,
    Records,
    placeholders,
    slices,
    to_record,
    unit,
)
from stores.index.reembedding import Reembedding
from stores.objects import check_key

Hits = list[tuple[ImageRecord, float]]
"""Records with the cosines of their vectors to what was searched for, best first."""

EXACT_SEARCH_LIMIT: Final = 20_000
"""Images so few that comparing each of them takes less than a search that has to look past the unwanted ones."""


class ImageIndex:
    """Records and vectors of all projects, used by one thread at a time.

    Every method may raise `StoreFull` when it writes and `StoreError` when the database fails. None touches an object:
    those may be far away, and searches would wait for them.
    """

    def __init__(self, db: Database, embedder: Embedder, *, key_prefix: str = "") -> None:
        """`embedder` is the configured one; the keys of all objects begin with `key_prefix`."""
        check_key(f"{key_prefix}x")
        self._db = db
        self.key_prefix = key_prefix
        self._records = Records(db)
        try:
            with db.transaction():
                self._records.ensure_project(DEFAULT_PROJECT)
            self._vectors = EmbedderVectors(db, embedder)
        except BaseException:
            db.close()
            raise
        self.adding = Adding(db, self._records, self._vectors, key_prefix)
        self.deleting = Deleting(db, self._records, self._vectors, self.adding, key_prefix)
        self.reembedding = Reembedding(db, self._vectors)

    def close(self) -> None:
        """Save what would take long to be made again, and close; safe to call twice."""
        if not self._db.closed:
            self._vectors.close()
            self._db.close()

    # --- reading ---

    def get(self, project: str, image_id: str) -> ImageRecord:
        """One record. Raises `ProjectNotFound`, `NotFound`."""
        return to_record(self._records.row(project, image_id))

    def find(self, project: str, sha256: str) -> ImageRecord | None:
        """The project's record of these bytes, if it has one."""
        if not PROJECT_NAME.fullmatch(project):
            return None
        row = self._db.one(SELECT + "WHERE p.name = ? AND i.sha256 = ? AND i.state = 'ready'", project, sha256)
        return None if row is None else to_record(row)

    def page(self, project: str, limit: int = MAX_PAGE, after: str | None = None) -> Page:
        """Up to `limit` records, oldest first, after `after`: a page's `next`, or an image id.

        Images added or deleted between two pages neither repeat nor hide others.

        Raises:
            ProjectNotFound: no such project.
            NotFound: `after` is an image id that the project does not have.
        """
        number = self._records.project_number(project)
        begin = 0
        if after is not None:
            is_cursor = after.isascii() and after.isdigit() and len(after) <= 18
            begin = int(after) if is_cursor else self._records.row(project, after)["position"]
        rows = self._db.all(
            SELECT + "WHERE i.project = ? AND i.state = 'ready' AND i.position > ? ORDER BY i.position LIMIT ?",
            number,
            begin,
            limit + 1,
        )
        shown = rows[:limit]
        return Page([to_record(row) for row in shown], str(shown[-1]["position"]) if len(rows) > limit else None)

    def projects(self) -> list[Project]:
        """All projects by name."""
        rows = self._db.all(
            "SELECT p.name, p.created_at, (SELECT count(*) FROM images i WHERE i.project = p.number "
            "AND i.state = 'ready') AS n FROM projects p WHERE p.name >= '0' ORDER BY p.name"  # /…: deleted
        )
        return [Project(row["name"], row["n"], row["created_at"]) for row in rows]

    # --- searching ---

    @property
    def serving(self) -> Embedder:
        """The embedder whose vectors are searched, by which a query must be embedded."""
        return self._vectors.refresh()

    def vector(self, project: str, image_id: str) -> Vectors:
        """The unit vector of an image, float32 [dimension]. Raises `ProjectNotFound`, `NotFound`, `EmbedderChanged`."""
        label = self._records.row(project, image_id)["label"]
        self._vectors.refresh()
        vector = self._vectors.serving.read(label)
        if vector is None:
            raise EmbedderChanged("the image has no vector of the model that serves yet")
        return vector

    def search(
        self,
        project: str,
        vector: Vectors,
        limit: int,
        min_score: float | None = None,
        only: ImageFilter = NO_FILTER,
        embedded_by: str | None = None,
    ) -> Hits:
        """The project's images nearest to `vector`, best first, with their cosines, which reach `min_score`.

        Raises:
            ProjectNotFound: no such project.
            EmbedderChanged: the embedder that serves is not the one that the vector was `embedded_by`.
        """
        number = self._records.project_number(project)
        if embedded_by is not None and embedded_by != self.serving.name:
            raise EmbedderChanged("another model serves now")
        self._vectors.check_dimension(self._vectors.serving.embedder, vector)
        query = unit(vector)
        condition, values = only.condition()
        if condition:
            best = self._nearest_of_filter(number, query, limit, condition, values)
        else:
            best = self._vectors.serving.nearest(number, query, limit)
        if min_score is not None:
            best = [(label, score) for label, score in best if score >= min_score]
        records = self._records.by_label([label for label, _ in best])
        # another process may have deleted one meanwhile
        return [(records[label], max(-1.0, min(1.0, score))) for label, score in best if label in records]

    def _nearest_of_filter(
        self, project: int, query: Vectors, limit: int, condition: str, values: list[Value]
    ) -> list[tuple[int, float]]:
        serving = self._vectors.serving
        select = f"SELECT i.label FROM images i WHERE i.project = ? AND i.state = 'ready' AND {condition}"  # noqa: S608
        # `+`: by their labels, not by an index of all that are wanted
        among = select.replace("i.project", "+i.project")
        few = self._db.all(f"{select} LIMIT ?", project, *values, EXACT_SEARCH_LIMIT + 1)
        if len(few) <= EXACT_SEARCH_LIMIT:
            return serving.nearest_of(project, [row["label"] for row in few], query, limit)
        reach = 4 * limit
        while True:
            near = serving.nearest(project, query, reach)
            labels = [label for label, _ in near]
            found = set[int]()
            for some in slices(labels):
                rows = self._db.all(f"{among} AND i.label IN ({placeholders(some)})", project, *values, *some)
                found |= {row["label"] for row in rows}
            best = [pair for pair in near if pair[0] in found][:limit]
            if len(best) == limit:
                return best
            if len(near) < reach:  # that was all it reaches
                labels = [row["label"] for row in self._db.all(select, project, *values)]
                return serving.nearest_of(project, labels, query, limit)
            reach *= 4

    # --- upkeep ---

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have the index open too."""
        return self._db.is_shared

    def claim(self, what: str) -> bool:
        """Whether `what` is this process's to do; see `Database.claim`."""
        return self._db.claim(what)

    def release(self, what: str) -> None:
        """Let other processes claim `what`."""
        self._db.release(what)

    @property
    def needs_tending(self) -> bool:
        """Whether `tend` has anything to do."""
        return self._vectors.needs_tending

    def tend(self) -> None:
        """Do some tens of milliseconds of the work that keeps searches fast. Once in a while it saves a graph."""
        self._vectors.tend()
