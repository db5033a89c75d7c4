//go:build !wasip1

package main

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

// giveUpAfter bounds the tries of one request.
const giveUpAfter = 30 * time.Second

// Count counts the words of text through a server, with a number of clients at the
// same time. With stop, Count stops the leading replica after half of the words.
// Count compares the result with a count without the server, and returns a report.
func Count(server, text string, clients int, stop bool) (string, error) {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) })
	c := &counter{
		server: server,
		prefix: "wordcount/" + rand.Text() + "/", // of this run
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
	}
	defer c.client.CloseIdleConnections()
	start := time.Now()
	half := len(words) / 2
	if err := c.countAll(words[:half], clients); err != nil {
		return "", err
	}
	leader := 0
	if stop {
		var err error
		if leader, err = c.stopLeader(); err != nil {
			return "", err
		}
	}
	if err := c.countAll(words[half:], clients); err != nil {
		return "", err
	}
	took := time.Since(start)
	if stop {
		if err := c.replica(leader, "start"); err != nil {
			return "", err
		}
	}
	found, err := c.read()
	if err != nil {
		return "", err
	}
	want := map[string]int{}
	for _, word := range words {
		want[word]++
	}
	if err := compare(found, want); err != nil {
		return "", err
	}
	return c.report(want, len(words), clients, leader, took), nil
}

// counter counts words in the store.
type counter struct {
	server, prefix string
	client         *http.Client
	conflicts      atomic.Int64 // writes that came too late
	repeats        atomic.Int64 // requests that were made again
}

// countAll counts words with so many clients at the same time.
func (c *counter) countAll(words []string, clients int) error {
	work := make(chan string)
	errs := make(chan error, clients)
	for range clients {
		go func() {
			var failed error
			for word := range work { // to the end, or the sender of words would wait for ever
				if failed == nil {
					failed = c.increment(word)
				}
			}
			errs <- failed
		}()
	}
	for _, word := range words {
		work <- word
	}
	close(work)
	var first error // the errors of the other clients are likely the same
	for range clients {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// increment adds one to a word's count.
func (c *counter) increment(word string) error {
	key := "/v1/kv/" + url.PathEscape(c.prefix+word)
	for {
		resp, value, err := c.send(http.MethodGet, key, "", nil)
		if err != nil {
			return err
		}
		count, condition := 0, http.Header{"If-None-Match": {"*"}}
		if resp.StatusCode == http.StatusOK {
			if count, err = strconv.Atoi(value); err != nil {
				return fmt.Errorf("the count of %q: %w", word, err)
			}
			condition = http.Header{"If-Match": {resp.Header.Get("ETag")}}
		}
		condition.Set("Idempotency-Key", rand.Text())
		resp, value, err = c.send(http.MethodPut, key, strconv.Itoa(count+1), condition)
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusOK:
			return nil
		case resp.StatusCode != http.StatusPreconditionFailed:
			return fmt.Errorf("%s: %s", resp.Status, value)
		}
		c.conflicts.Add(1)
	}
}

// send makes a request, and repeats the request while the server does not answer
// or has no leader.
func (c *counter) send(method, path, body string, header http.Header) (*http.Response, string, error) {
	for deadline := time.Now().Add(giveUpAfter); ; time.Sleep(50 * time.Millisecond) {
		resp, answer, err := c.once(method, path, body, header)
		if err == nil && resp.StatusCode != http.StatusServiceUnavailable {
			return resp, answer, nil
		}
		if time.Now().After(deadline) {
			if err == nil {
				err = errors.New(resp.Status)
			}
			return nil, "", fmt.Errorf("gave up on %s: %w", c.server, err)
		}
		c.repeats.Add(1)
	}
}

func (c *counter) once(method, path, body string, header http.Header) (*http.Response, string, error) {
	req, err := http.NewRequest(method, c.server+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	maps.Copy(req.Header, header)
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, string(answer), err
}

// stopLeader stops the leading replica and returns its number.
func (c *counter) stopLeader() (int, error) {
	resp, answer, err := c.send(http.MethodGet, "/v1/status", "", nil)
	if err != nil {
		return 0, err
	}
	var status struct{ Leader int }
	if err := json.Unmarshal([]byte(answer), &status); err != nil {
		return 0, fmt.Errorf("%s: %w", resp.Status, err)
	}
	return status.Leader, c.replica(status.Leader, "stop")
}

// replica stops or starts a replica.
func (c *counter) replica(number int, verb string) error {
	resp, answer, err := c.send(http.MethodPost, fmt.Sprintf("/v1/replicas/%d/%s", number, verb), "", nil)
	if err == nil && resp.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("replica %d: %s: %s", number, resp.Status, answer)
	}
	return err
}

// read returns all counts of this run, with a range scan.
func (c *counter) read() (map[string]int, error) {
	counts := map[string]int{}
	for next := "/v1/kv?prefix=" + url.QueryEscape(c.prefix); next != ""; {
		resp, answer, err := c.send(http.MethodGet, next, "", nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Items []struct{ Key, Value string }
			Next  string
		}
		if err := json.Unmarshal([]byte(answer), &page); err != nil {
			return nil, fmt.Errorf("%s: %w", resp.Status, err)
		}
		for _, item := range page.Items {
			if counts[strings.TrimPrefix(item.Key, c.prefix)], err = strconv.Atoi(item.Value); err != nil {
				return nil, err
			}
		}
		next = page.Next
	}
	return counts, nil
}

// compare returns an error that names a difference between found and want.
func compare(found, want map[string]int) error {
	if len(found) != len(want) {
		return fmt.Errorf("%d words were counted; the text has %d", len(found), len(want))
	}
	for word, n := range want {
		if found[word] != n {
			return fmt.Errorf("%q was counted %d times; the text has it %d times", word, found[word], n)
		}
	}
	return nil
}

func (c *counter) report(counts map[string]int, words, clients, stopped int, took time.Duration) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d words, %d different ones, counted by %d clients in %v (%.0f a second)\n",
		words, len(counts), clients, took.Round(time.Millisecond), float64(words)/took.Seconds())
	if stopped != 0 {
		fmt.Fprintf(&out, "replica %d, the leader, was stopped in the middle\n", stopped)
	}
	fmt.Fprintf(&out, "%d writes met another version and were made anew; %d requests were repeated\n", c.conflicts.Load(), c.repeats.Load())
	fmt.Fprintln(&out, "every count is that of a loop over the text; the most frequent:")
	common := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b))
	})
	for _, word := range common[:min(5, len(common))] {
		fmt.Fprintf(&out, "%7d %s\n", counts[word], word)
	}
	return out.String()
}
