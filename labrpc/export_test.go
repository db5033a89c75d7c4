package labrpc

// SetLimit makes a trace smaller than MaxTraceBytes.
func (tr *Trace) SetLimit(bytes int) { tr.limit = bytes }
