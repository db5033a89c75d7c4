package jail

const arch = 0xc00000b7 // AUDIT_ARCH_AARCH64

// permittedHere are the permitted system calls that only this architecture has.
var permittedHere []uint32
