package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// worldKey finds the world in the context of a host call.
type worldKey struct{}

// instantiateHost gives a runtime the host's side of wasip1. The clock belongs
// to the world of the caller.
func instantiateHost(ctx context.Context, rt wazero.Runtime) error {
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	host := rt.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(host)
	host.NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(clockTimeGet), []api.ValueType{i32, i64, i32}, []api.ValueType{i32}).
		Export("clock_time_get")
	_, err := host.Instantiate(ctx)
	return err
}

// Results of clock_time_get.
const (
	wasiOK    = 0
	wasiFault = 21
	wasiIO    = 29
)

// clockTimeGet is clock_time_get(clock, precision, *result) of WASI. All clocks
// are the world's clock. The first read after the limit of virtual time fails.
// The runtime then gives up and prints all stacks.
func clockTimeGet(ctx context.Context, mod api.Module, stack []uint64) {
	w := ctx.Value(worldKey{}).(*world)
	now := w.read()
	switch {
	case w.ends(mod.Memory()):
		stack[0] = wasiIO
	case !mod.Memory().WriteUint64Le(uint32(stack[2]), uint64(now)):
		stack[0] = wasiFault
	default:
		stack[0] = wasiOK
	}
}

// The runtime prints a goroutine in this form when the runtime gives up, with
// its own frames and with addresses.
//
//	goroutine 7 gp=0x1402380 m=nil [sync.Mutex.Lock]:
//	runtime.gopark(...)
//		/go/src/runtime/proc.go:461
//	internal/sync.(*Mutex).lockSlow(0x1400010)
//		/go/src/internal/sync/mutex.go:149 +0x20 fp=0x1454e40 sp=0x1454df0 pc=0x110c0014
var (
	headRE     = regexp.MustCompile(`^(goroutine \d+)(?: gp=\S+ m=\S+(?: mp=\S+)?)? \[(.*)\]:$`)
	addressRE  = regexp.MustCompile(` fp=0x([0-9a-f]+) sp=0x([0-9a-f]+) pc=0x[0-9a-f]+$`)
	ownFrameRE = regexp.MustCompile(`^(?:created by )?runtime\.(?:\(\*)?[a-z]`)
	lockSlowRE = regexp.MustCompile(`^(?:internal/)?sync\.\(\*Mutex\)\.lockSlow\(`)
)

// stacks converts the dump of a world that is over to the form of the native
// engine. The result has the program's goroutines without the runtime's frames,
// and their waits for a mutex.
func (w *world) stacks() []byte {
	var out bytes.Buffer
	out.WriteString("fatal error: sim: virtual time limit reached\n")
	for block := range bytes.SplitSeq(w.dump.Bytes(), []byte("\n\n")) {
		lines := bytes.Split(bytes.TrimSpace(block), []byte("\n"))
		head := headRE.FindSubmatch(lines[0])
		if head == nil {
			continue
		}
		frames, waits := w.frames(lines[1:])
		if len(frames) == 0 {
			continue // the runtime's own
		}
		since := ""
		if waits >= time.Minute {
			since = fmt.Sprintf(", %d minutes", waits/time.Minute)
		}
		fmt.Fprintf(&out, "\n%s [%s%s]:\n%s", head[1], head[2], since, frames)
	}
	return out.Bytes()
}

// frames returns the program's frames of a goroutine, and how long the
// goroutine has waited for a mutex. The line with the function of a frame
// decides about the line with its place.
func (w *world) frames(lines [][]byte) (frames []byte, waits time.Duration) {
	own, locks := false, false
	for _, line := range lines {
		isPlace := bytes.HasPrefix(line, []byte("\t"))
		if !isPlace {
			own, locks = ownFrameRE.Match(line), lockSlowRE.Match(line)
		} else if locks {
			waits = w.lockWait(addressRE.FindSubmatch(line))
		}
		if !own {
			frames = append(append(frames, addressRE.ReplaceAll(line, nil)...), '\n')
		}
	}
	return frames, waits
}

// lockWait returns how long a call of lockSlow has waited. The frame of
// lockSlow holds the start of the wait, and only a reading of the clock is a
// number of this size. A later reading in the frame only makes the wait seem
// shorter.
func (w *world) lockWait(address [][]byte) time.Duration {
	if address == nil {
		return 0
	}
	frame, err1 := strconv.ParseUint(string(address[1]), 16, 32)
	stack, err2 := strconv.ParseUint(string(address[2]), 16, 32)
	if err1 != nil || err2 != nil || frame < stack {
		return 0
	}
	words, ok := w.memory.Read(uint32(stack), uint32(frame-stack))
	if !ok {
		return 0
	}
	last := int64(0)
	for ; len(words) >= 8; words = words[8:] {
		if t := int64(binary.LittleEndian.Uint64(words)); t >= w.began && t <= w.now {
			last = max(last, t)
		}
	}
	if last == 0 {
		return 0
	}
	return time.Duration(w.now - last)
}
