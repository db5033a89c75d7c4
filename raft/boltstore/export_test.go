//go:build !wasip1

package boltstore

// OnCommit has f called after each writing transaction. Not to be called while the
// store is in use.
func (s *Store) OnCommit(f func()) { s.committed = f }

// SmallSteps has transactions do little, so that a test sees many of them. It
// returns the size of a snapshot's pieces, and a function that takes it back.
func SmallSteps() (chunk int, back func()) {
	a, b, c := chunkSize, cleanEntries, cleanChunks
	chunkSize, cleanEntries, cleanChunks = 4000, 100, 2
	return chunkSize, func() { chunkSize, cleanEntries, cleanChunks = a, b, c }
}
