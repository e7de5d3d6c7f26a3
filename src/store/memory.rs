//! A store in the memory of this process: for `tollgate dev` and tests. A restart forgets everything.
