package porcupine

// Hint placeholder.
type Hint struct{}
