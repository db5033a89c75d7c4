package jail

import "golang.org/x/sys/unix"

const arch = 0xc000003e // AUDIT_ARCH_X86_64

// permittedHere are the permitted system calls that only this architecture has.
var permittedHere = []uint32{unix.SYS_EPOLL_WAIT, unix.SYS_ARCH_PRCTL}
