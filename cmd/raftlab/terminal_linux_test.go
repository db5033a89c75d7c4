package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// openTerminal returns both ends of a new pseudo terminal.
func openTerminal(t *testing.T) (control, terminal *os.File) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { control.Close() })
	ioctl := func(request uintptr, value *int32) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, control.Fd(), request, uintptr(unsafe.Pointer(value)))
		require.Zero(t, errno)
	}
	var unlock, number int32
	ioctl(syscall.TIOCSPTLCK, &unlock)
	ioctl(syscall.TIOCGPTN, &number)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	return control, terminal
}

// onTerminal runs a command whose output is a terminal.
func (s *server) onTerminal(args ...string) (out, errs string, code int) {
	s.Helper()
	control, terminal := openTerminal(s.T)
	cmd := command(append(args, "--server", s.url)...)
	var errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = terminal, &errors
	require.NoError(s, cmd.Start())
	terminal.Close()
	var screen bytes.Buffer
	_, _ = screen.ReadFrom(control) // ends with an error when the command has ended
	_ = cmd.Wait()
	return strings.ReplaceAll(screen.String(), "\r\n", "\n"), errors.String(), cmd.ProcessState.ExitCode()
}

// A terminal gets text alone, and no value that fills it.
func TestTerminal(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--replicas", "1")
	binary := strings.Repeat("\x00\x1b[2J", 20_000)
	require.Zero(t, s.raftlab(strings.NewReader(binary), "kv", "put", "binary").code)
	require.Zero(t, s.raftlab(nil, "kv", "put", "text", "two\nlines é").code)
	require.Zero(t, s.raftlab(nil, "kv", "put", "long", strings.Repeat("é", 200)).code)

	out, errs, code := s.onTerminal("kv", "get", "text")
	require.Equal(t, "two\nlines é\n", out)
	require.Zero(t, code, errs)
	out, errs, code = s.onTerminal("kv", "get", "binary")
	require.Empty(t, out)
	require.Contains(t, errs, "(100000 bytes) is not text")
	require.Equal(t, exitFailure, code)
	out, _, code = s.onTerminal("kv", "get", "--raw", "binary")
	require.Equal(t, len(binary), len(out))
	require.Zero(t, code)
	out, _, code = s.onTerminal("kv", "scan")
	require.Zero(t, code)
	require.Less(t, len(out), 2000)
	require.Contains(t, out, "... (100000 bytes)\n")
	require.Contains(t, out, strings.Repeat("é", 100)+"... (400 bytes)\n")

	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer null.Close()
	require.False(t, isTerminal(null), "the null device")
	require.Equal(t, binary, s.raftlab(nil, "kv", "get", "binary").out, "a pipe")
}
