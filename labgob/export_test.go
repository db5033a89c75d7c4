package labgob

// ErrorCount returns the number of warnings so far.
func ErrorCount() int {
	warnMu.Lock()
	defer warnMu.Unlock()
	return errorCount
}

// ForgetWarnings makes every type warn again.
func ForgetWarnings() {
	warnMu.Lock()
	defer warnMu.Unlock()
	checkedTypes.Clear()
	clear(warnedTarget)
}

// checked scans a stream of one value. Decode must accept the stream.
func checked(data []byte) (defs, value []byte, s scanner) {
	defs, first, rest, _ := cut(data)
	types, _, _ := schemaOf(defs)
	s = scanner{types: types.types}
	in := newFrames(&feeder{rest})
	value, err := s.whole(first, &in)
	if err != nil {
		panic(err)
	}
	return defs, value, s
}

// Rewrites reports whether a stream has parts that gob cannot skip. Decode must
// accept the stream.
func Rewrites(data []byte) bool {
	_, _, s := checked(data)
	return s.nils || len(s.inline) > 0
}

// Rewritten returns the stream that Decode gives to gob. Decode must accept the
// original stream.
func Rewritten(data []byte, e any) []byte {
	defs, value, s := checked(data)
	value, err := rewrite(s.types, value, e)
	if err != nil {
		panic(err)
	}
	return append(append(clone(defs), s.inline...), value...)
}
