//go:build linux

package world_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim/world"
)

// counter is a process that keeps a lock, counts in a file, and serves its port.
func counter(path string, ticks *int, mu *sync.Mutex) func() {
	return func() {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil || syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			return
		}
		defer func() { *ticks = -1 }() // never, because nothing ends in good order
		time.AfterFunc(10*time.Minute, func() { *ticks = -2 })
		l, err := net.Listen("tcp", ":80")
		if err != nil {
			return
		}
		go func() {
			for range time.Tick(time.Second) {
				mu.Lock()
				*ticks++
				mu.Unlock()
				fmt.Fprintln(f, "tick")
				f.Sync()
			}
		}()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}
}

// TestProcess kills a process and its machine, and starts it again.
func TestProcess(t *testing.T) {
	inWorld(t)
	d := newDisk(t)
	p, err := world.NewProcess("node", "10.0.9.1")
	require.NoError(t, err)
	p.Attach(d)
	var mu sync.Mutex
	ticks := 0
	main := counter(filepath.Join(d.Dir(), "f"), &ticks, &mu)
	for _, end := range []func() error{func() error { p.Kill(); return nil }, p.PowerOff} {
		require.NoError(t, p.Start(main))
		require.ErrorIs(t, p.Start(main), world.ErrInvalid)
		time.Sleep(3500 * time.Millisecond)
		c := dial(t, "node:80")
		c.(*net.TCPConn).SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3})
		_, err := answer(c, time.Second)
		require.NoError(t, err)
		require.Equal(t, 3, ticks)
		done := p.Done()
		require.NoError(t, end())
		<-done
		began := time.Now()
		c.SetDeadline(time.Time{})
		_, err = c.Read(make([]byte, 1))
		if time.Since(began) < time.Second {
			require.ErrorIs(t, err, io.EOF, "the system closes the sockets of a killed process")
			_, err = net.Dial("tcp", "node:80")
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		} else {
			require.ErrorIs(t, err, syscall.ETIMEDOUT, "a keepalive probe finds no machine")
			_, err = net.DialTimeout("tcp", "node:80", time.Second)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
		time.Sleep(20 * time.Minute)
		require.Equal(t, 3, ticks, "a goroutine or a timer of the dead process ran")
		got, err := os.ReadFile(filepath.Join(d.Dir(), "f"))
		if err == nil {
			require.Contains(t, string(got), "tick\ntick\ntick\n")
		}
		ticks = 0
	}
}

// TestProcessEnds returns from main, with other goroutines left.
func TestProcessEnds(t *testing.T) {
	inWorld(t)
	p, err := world.NewProcess("short", "10.0.9.2")
	require.NoError(t, err)
	ran := 0
	require.NoError(t, p.Start(func() {
		l, _ := net.Listen("tcp", "127.0.0.1:81")
		go l.Accept()
		go func() {
			for {
				time.Sleep(time.Second)
				ran++
			}
		}()
		time.Sleep(2500 * time.Millisecond)
	}))
	<-p.Done()
	time.Sleep(time.Minute)
	require.Equal(t, 2, ran)
	_, err = net.Dial("tcp", "10.0.9.2:81")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	_, err = world.NewProcess("other", "10.0.9.2")
	require.ErrorIs(t, err, world.ErrInvalid)
}

// TestMachinesAreApart uses one loopback port on three machines.
func TestMachinesAreApart(t *testing.T) {
	inWorld(t)
	echo(t, "127.0.0.1:82")
	failed := make(chan error, 3)
	for i := range 2 {
		p, err := world.NewProcess(fmt.Sprint("m", i), fmt.Sprintf("10.0.9.%d", 10+i))
		require.NoError(t, err)
		require.NoError(t, p.Start(func() {
			if _, err := net.Dial("tcp", "127.0.0.1:82"); !errors.Is(err, syscall.ECONNREFUSED) {
				failed <- fmt.Errorf("the loopback of another machine: %v", err)
			}
			if _, err := net.Listen("tcp", "10.0.9.99:82"); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
				failed <- err
			}
			l, err := net.Listen("tcp", "127.0.0.1:82")
			if err != nil {
				failed <- err
				return
			}
			l.Close()
		}))
		<-p.Done()
	}
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
}

// TestProcessesAreChecked expects errors.
func TestProcessesAreChecked(t *testing.T) {
	_, err := world.NewProcess("p", "10.0.9")
	require.ErrorIs(t, err, world.ErrInvalid)
	_, err = world.NewProcess("p", "127.0.0.1")
	if world.Active() {
		require.ErrorIs(t, err, world.ErrInvalid)
	} else {
		require.ErrorIs(t, err, world.ErrNoWorld)
	}
}
