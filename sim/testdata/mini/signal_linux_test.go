package mini

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// TestSignals waits for signals, as commands do, and sends them to itself.
func TestSignals(t *testing.T) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, os.Interrupt, syscall.SIGHUP)
	select {
	case s := <-c:
		t.Fatal("nobody sent ", s)
	case <-time.After(time.Second):
	}
	began := time.Now()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		fmt.Println(<-c, time.Since(began))
		if err := self.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		fmt.Println(<-c, time.Since(began))
	}
	signal.Stop(c)
	time.Sleep(time.Second)
}

// TestSignalDeadlock waits for a signal that nobody sends.
func TestSignalDeadlock(t *testing.T) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	<-c
}
