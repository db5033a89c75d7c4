//go:build !linux

package world

func active() bool { return false }

func control[T any](uintptr, *T) error { return nil }

func controlBytes(uintptr, []byte) error { return nil }
