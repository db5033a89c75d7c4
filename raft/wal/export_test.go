//go:build unix

package wal

// DataSync makes a file's data durable, as the log does.
var DataSync = dataSync
