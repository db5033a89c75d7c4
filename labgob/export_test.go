package labgob

// ErrorCount returns how many warnings there were.
func ErrorCount() int {
	warnMu.Lock()
	defer warnMu.Unlock()
	return errorCount
}
