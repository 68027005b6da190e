"""Who is above whom among the nodes of threads, however long and however malicious the chains of them are.

Threads are short, so the way up is walked. Whoever makes a chain of thousands of messages, and thousands of others that
ask about its two ends, would make that a square; when walking has become too much the nodes are put into a link-cut
tree (D. D. Sleator, R. E. Tarjan 1983), which answers in logarithmic time on average.
"""

NOBODY = -1
_ENOUGH = 1_000_000  # steps upwards, over all questions: some tens of milliseconds


class Ancestry:
    """Nodes from 0 and their parents."""

    __slots__ = ("_left", "_paths", "_used", "parents")

    def __init__(self, count: int, enough: int = _ENOUGH) -> None:
        self.parents = [NOBODY] * count
        self._used = bytearray(count)  # 1: it was made a parent once
        self._left = enough
        self._paths: _Paths | None = None

    def add(self) -> int:
        """A new node."""
        self.parents.append(NOBODY)
        self._used.append(0)
        if self._paths is not None:
            self._paths.add()
        return len(self.parents) - 1

    def put(self, node: int, parent: int) -> None:
        """Put `node`, which has no parent, below `parent`; unless it is above it, or is it."""
        if node == parent or (self._used[node] and self._root(parent) == node):
            return
        self.parents[node] = parent
        self._used[parent] = 1
        if self._paths is not None:
            self._paths.link(node, parent)

    def free(self, node: int) -> None:
        """Let `node` have no parent."""
        if self.parents[node] == NOBODY:
            return
        self.parents[node] = NOBODY
        if self._paths is not None:
            self._paths.cut(node)

    def _root(self, node: int) -> int:
        if self._paths is None:
            while self._left > 0:
                above = self.parents[node]
                if above == NOBODY:
                    return node
                node = above
                self._left -= 1
            self._paths = _Paths(self.parents)
        return self._paths.root(node)


class _Paths:
    """A link-cut tree: each path that was asked for lately is a splay tree, by depth. NOBODY is no node."""

    __slots__ = ("_left", "_right", "_up")

    def __init__(self, parents: list[int]) -> None:
        self._up = list(parents)  # in its splay tree; of the top of one, the parent of the path
        self._left = [NOBODY] * len(parents)
        self._right = [NOBODY] * len(parents)

    def add(self) -> None:
        for column in (self._up, self._left, self._right):
            column.append(NOBODY)

    def link(self, node: int, parent: int) -> None:
        """Put `node`, which has no parent, below `parent`."""
        self._expose(node)
        self._up[node] = parent

    def cut(self, node: int) -> None:
        """Take `node` away from its parent."""
        self._expose(node)
        above = self._left[node]
        if above != NOBODY:
            self._up[above] = self._left[node] = NOBODY

    def root(self, node: int) -> int:
        """The node at the top of all that are above `node`."""
        self._expose(node)
        while (above := self._left[node]) != NOBODY:
            node = above
        self._splay(node)
        return node

    def _expose(self, node: int) -> None:
        """Make the path down to `node` one splay tree, with `node` at its top."""
        last, here = NOBODY, node
        while here != NOBODY:
            self._splay(here)
            self._right[here] = last
            last, here = here, self._up[here]
        self._splay(node)

    def _is_top(self, node: int) -> bool:
        above = self._up[node]
        return above == NOBODY or (self._left[above] != node and self._right[above] != node)

    def _splay(self, node: int) -> None:
        while not self._is_top(node):
            above = self._up[node]
            if not self._is_top(above):
                is_straight = (self._left[self._up[above]] == above) == (self._left[above] == node)
                self._rotate(above if is_straight else node)
            self._rotate(node)

    def _rotate(self, node: int) -> None:
        up, left, right = self._up, self._left, self._right
        above = up[node]
        top = up[above]
        if top != NOBODY:
            if left[top] == above:
                left[top] = node
            elif right[top] == above:
                right[top] = node
        if left[above] == node:
            moved = left[above] = right[node]
            right[node] = above
        else:
            moved = right[above] = left[node]
            left[node] = above
        if moved != NOBODY:
            up[moved] = above
        up[above], up[node] = node, top
