//go:build linux || darwin || freebsd

package labrun

import (
	"os"
	"runtime/debug"
	"sync"
	"syscall"
)

// outputSize returns a function for the length of the output so far, or nil unless the
// output is a file, as in a child.
func outputSize() func() int64 {
	theOutput.mu.Lock()
	defer theOutput.mu.Unlock()
	if !theOutput.measure() {
		return nil
	}
	return theOutput.length
}

// theOutput watches the output of this process.
var theOutput outputEnd

// An outputEnd watches the end of the output. Most tests print little and send many
// messages. So the watch maps the last page of the file into memory, and makes a system call
// only once a byte stands behind the known end.
type outputEnd struct {
	mu    sync.Mutex
	size  int64
	page  []byte // the mapped page, or nil
	first int64  // the offset of the page
	plain bool   // the file cannot be mapped, so each look is a system call
	looks uint
}

// measureEvery is the number of looks after which the watch measures the file in any case,
// because the program may have written a zero.
const measureEvery = 256

func (o *outputEnd) length() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.looks++
	if o.looks%measureEvery == 0 || o.grown() {
		o.measure()
	}
	return o.size
}

// grown reports whether the output may have grown.
func (o *outputEnd) grown() (grown bool) {
	at := o.size - o.first
	if at >= int64(len(o.page)) {
		return true // the end of the page is the end of the file
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			grown = true // the parent has truncated the file
		}
	}()
	return o.page[at] != 0
}

// measure asks for the size of the file, and maps the page of its end. It returns false if
// the output is no file.
func (o *outputEnd) measure() bool {
	var s syscall.Stat_t
	if syscall.Fstat(1, &s) != nil || s.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return false
	}
	o.size = s.Size
	size := int64(os.Getpagesize())
	first := o.size / size * size
	if o.plain || o.page != nil && first == o.first {
		return true
	}
	if o.page != nil {
		_ = syscall.Munmap(o.page)
	}
	o.page, o.first = nil, first
	if o.size > first {
		page, err := syscall.Mmap(1, first, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
		o.page, o.plain = page, err != nil
	}
	return true
}
