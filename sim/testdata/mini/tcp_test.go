//go:build !wasip1

package mini

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestTCP talks to itself over the loopback interface.
func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 100 {
		fmt.Fprintf(c, "ping %04d\n", i)
		if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestSubprocess runs the test binary again, as tests of crashes do.
func TestSubprocess(t *testing.T) {
	if os.Getenv("INNER") != "" {
		fmt.Println("inside", rand.Int())
		os.Exit(7)
	}
	for _, name := range []string{os.Args[0], executable(t)} {
		cmd := exec.Command(name, "-test.run=^TestSubprocess$")
		cmd.Env = append(os.Environ(), "INNER=1")
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 7 || !strings.HasPrefix(string(out), "inside ") {
			t.Errorf("%s: code %d, error %v, output %s", name, code, err, out)
		}
		fmt.Printf("%s", out)
	}
}

// TestSubprocessReads waits for subprocesses that read and write more than a pipe holds.
func TestSubprocessReads(t *testing.T) {
	in := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for range 3 {
		cmd := exec.Command("cat")
		w, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		cmd.Stdout = &out
		written := make(chan error, 1)
		go func() {
			_, err := w.Write(in)
			written <- errors.Join(err, w.Close())
		}()
		start := time.Now()
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		if !bytes.Equal(out.Bytes(), in) {
			t.Errorf("%d bytes of output for %d of input", out.Len(), len(in))
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("%v have passed in the world", d)
		}
		fmt.Println(time.Now())
	}
}

// TestSubprocessPipes talks with a subprocess that takes its time, beside a timer.
func TestSubprocessPipes(t *testing.T) {
	go func() {
		for range time.Tick(time.Minute) {
		}
	}()
	cmd := exec.Command("sh", "-c", "sleep 0.2; echo ready; while read line; do sleep 0.2; echo $line; done")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"ready", "one", "two"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("%q and %v, not %s", lines.Text(), lines.Err(), want)
		}
		fmt.Fprintln(in, map[string]string{"ready": "one", "one": "two"}[want])
	}
	in.Close()
	if lines.Scan(); lines.Text() != "" {
		t.Errorf("%q after the end of the input", lines.Text())
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("%v have passed in the world", d)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	time.Sleep(10 * time.Second) // no child any more, and time jumps
}

// TestSilentSubprocess sleeps while a goroutine reads from a subprocess that says
// nothing.
func TestSilentSubprocess(t *testing.T) {
	cmd := exec.Command("sleep", "3600")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, out)
		read <- err
	}()
	for range 10 {
		time.Sleep(time.Second)
	}
	cmd.Process.Kill()
	if err := <-read; err != nil {
		t.Error(err)
	}
	cmd.Wait()
}

// TestBusySubprocess sleeps while subprocesses write without an end. The second one writes
// faster than the test reads.
func TestBusySubprocess(t *testing.T) {
	for _, script := range []string{"while :; do echo line; sleep 0.01; done", "exec yes"} {
		cmd := exec.Command("sh", "-c", script)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		read := make(chan struct{})
		go func() {
			defer close(read)
			for buf := make([]byte, 1); err == nil; {
				_, err = out.Read(buf)
			}
		}()
		for range 10 {
			time.Sleep(100 * time.Millisecond)
		}
		cmd.Process.Kill()
		<-read
	}
}

// TestSubprocessTimeLimit ends a subprocess that would run for an hour.
func TestSubprocessTimeLimit(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := exec.CommandContext(ctx, "sleep", "3600").Run(); err == nil || ctx.Err() == nil {
		t.Errorf("the subprocess ended with %v, and the context with %v", err, ctx.Err())
	}
}

func executable(t *testing.T) string {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestOutside waits for what only the real world could give.
func TestOutside(t *testing.T) {
	exec.Command("sleep", "3600").Run()
}
