package labrun

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"raftlab/internal/testkit"
	"raftlab/trace"
)

// streamPath holds the name of the stream's file for the kernel.
var streamPath [4096]byte

// outputMark is what a mark writes.
var outputMark = [1]byte{OutputMark}

// openStream returns a function that appends lines to a file, or nil. A stream does not
// change a simulated run. The run has a stream in any case, perhaps to nowhere, because
// allocations of memory move the random choices of the runtime. System calls are raw,
// because package os takes locks, and because the scheduler may hand the processor on
// during an ordinary system call. Each event of a simulated run with a file leaves a mark in
// the output, for the place of the program's own lines.
func openStream(path string, header []byte) func(line []byte) {
	if path == "" && !testkit.Simulated() {
		return nil
	}
	nowhere := path == ""
	marks := !nowhere && testkit.Simulated()
	if nowhere {
		path = os.DevNull // for an equal number of open files
	}
	clear(streamPath[:])
	copy(streamPath[:len(streamPath)-1], path)
	const flags = syscall.O_CREAT | syscall.O_WRONLY | syscall.O_APPEND | syscall.O_CLOEXEC
	here := -100 // AT_FDCWD
	fd, _, err := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(here), uintptr(unsafe.Pointer(&streamPath[0])), flags, 0o600, 0, 0)
	if err != 0 {
		fmt.Fprintf(os.Stderr, "labrun: no stream of events: %s: %v\n", path, err)
		return nil
	}
	write := func(line []byte) {
		if nowhere {
			return
		}
		writeRaw(fd, line)
		if marks && trace.IsEvent(line) {
			writeRaw(1, outputMark[:])
		}
	}
	if !nowhere {
		writeRaw(fd, header)
	}
	return write
}

// writeRaw writes data to a file.
func writeRaw(fd uintptr, data []byte) {
	for len(data) > 0 {
		n, _, err := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
		if err != 0 || n == 0 {
			return
		}
		data = data[n:]
	}
}
