//go:build !linux

package world

func active() bool { return false }

func control[T any](uintptr, *T) (uintptr, error) { return 0, nil }

func controlBytes(uintptr, []byte) (uintptr, error) { return 0, nil }

func controlNumber(uintptr, uintptr) (uintptr, error) { return 0, nil }
