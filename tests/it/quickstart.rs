//! Placeholder of this worktree; not to be committed.
