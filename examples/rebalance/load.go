//go:build !wasip1

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"raftlab/internal/httpkv"
)

// load has the clients that write and read, and their counts.
type load struct {
	server  string
	stop    chan struct{}
	working sync.WaitGroup

	mu       sync.Mutex
	requests int
	failed   int
	slowest  time.Duration
	wrong    []string
}

// Run puts the server under load, changes the layout step by step, and writes a line
// for each step. Run returns an error if a request failed, or if a key does not hold
// the values that were written.
func Run(out io.Writer, server string, clients int, span time.Duration) error {
	if clients < 1 {
		return fmt.Errorf("%d clients; want at least 1", clients)
	}
	admin := &httpkv.Client{BaseURL: server}
	if err := awaitGroups(admin); err != nil {
		return err
	}
	l := &load{server: server, stop: make(chan struct{})}
	for i := range clients {
		l.working.Go(func() { l.client(i) })
	}
	fmt.Fprintf(out, "%-22s %9s %7s %11s  %s\n", "", "REQUESTS", "FAILED", "SLOWEST", "SHARDS OF EACH GROUP")
	err := l.steps(out, admin, span)
	close(l.stop)
	l.working.Wait()
	switch {
	case err != nil:
		return err
	case l.failed > 0 || len(l.wrong) > 0:
		return fmt.Errorf("%d requests failed; wrong are: %s", l.failed, strings.Join(l.wrong, ", "))
	}
	fmt.Fprintf(out, "every key has what was written to it\n")
	return nil
}

// awaitGroups waits until the groups of a new store have joined.
func awaitGroups(admin *httpkv.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		layout, err := admin.Layout(ctx)
		if err != nil || layout.Config > 0 {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// steps changes the layout.
func (l *load) steps(out io.Writer, admin *httpkv.Client, span time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+6*span)
	defer cancel()
	for _, step := range []struct {
		name   string
		change func() (int, error)
	}{
		{"no change", func() (int, error) { return 0, nil }},
		{"group 2 leaves", func() (int, error) { return admin.ChangeGroups(ctx, "leave", []int{2}) }},
		{"group 3 leaves", func() (int, error) { return admin.ChangeGroups(ctx, "leave", []int{3}) }},
		{"groups 2 and 3 join", func() (int, error) { return admin.ChangeGroups(ctx, "join", []int{2, 3}) }},
		{"shard 0 to group 3", func() (int, error) { return admin.MoveShard(ctx, 0, 3) }},
	} {
		l.take()
		if _, err := step.change(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		time.Sleep(span)
		layout, err := admin.Layout(ctx)
		if err != nil {
			return err
		}
		var shards []string
		for _, g := range layout.Groups {
			shards = append(shards, fmt.Sprint(g.Shards))
		}
		requests, failed, slowest := l.take()
		fmt.Fprintf(out, "%-22s %9d %7d %11s  %s\n", step.name, requests, failed,
			slowest.Round(time.Millisecond/10), strings.Join(shards, " "))
	}
	return nil
}

// take returns the counts since the last call.
func (l *load) take() (requests, failed int, slowest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	requests, failed, slowest = l.requests, l.failed, l.slowest
	l.requests, l.slowest = 0, 0
	return requests, failed, slowest
}

// client writes and reads ten keys in turn until the load stops, and then compares
// the keys with the values written.
func (l *load) client(number int) {
	written := make(map[string]string)
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			l.compare(written)
			return
		default:
		}
		key := fmt.Sprintf("%d of client %d", n%10, number)
		if n%2 == 0 {
			more := fmt.Sprintf("%d ", n)
			if _, ok := l.request(http.MethodPost, key, more); ok {
				written[key] += more
			}
		} else {
			l.request(http.MethodGet, fmt.Sprintf("%d of client %d", (n-1)%10, number), "")
		}
	}
}

func (l *load) compare(written map[string]string) {
	for key, want := range written {
		// The values of an earlier run may come before.
		if got, _ := l.request(http.MethodGet, key, ""); !strings.HasSuffix(got, want) {
			l.mu.Lock()
			l.wrong = append(l.wrong, key)
			l.mu.Unlock()
		}
	}
}

// request makes one request and counts it.
func (l *load) request(method, key, body string) (answer string, ok bool) {
	start := time.Now()
	status := 0
	req, err := http.NewRequest(method, l.server+httpkv.PathOf(key), strings.NewReader(body))
	if err == nil {
		var resp *http.Response
		if resp, err = http.DefaultClient.Do(req); err == nil {
			var data []byte
			data, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			answer, status = string(data), resp.StatusCode
		}
	}
	ok = err == nil && status == http.StatusOK
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if !ok {
		l.failed++
	}
	l.slowest = max(l.slowest, time.Since(start))
	return answer, ok
}
