package kernel

import "embed"

// Source holds the files of this package for the overlay.
//
//go:embed addr.go block.go consts.go control.go dgram.go dir.go disk.go diskio.go event.go fault.go io.go kernel.go lock.go option.go process.go sock.go stream.go unix.go world.go
var Source embed.FS
