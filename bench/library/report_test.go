package library

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// report is what a run has measured.
type report struct {
	systems        []system
	sizes, clients []int
	results        map[cell][]figures
	limits         []limits
}

func (r *report) median(s system, size, clients int) figures {
	return median(r.results[cell{s.String(), size, clients}], func(f figures) float64 { return f.rate })
}

// limit is the median of one of the limits.
func (r *report) limit(size int, get func(limits) time.Duration) time.Duration {
	var of []limits
	for _, l := range r.limits {
		if l.size == size {
			of = append(of, l)
		}
	}
	return get(median(of, func(l limits) float64 { return float64(get(l)) }))
}

// limitRows are the limits with their names.
var limitRows = []struct {
	name    string
	durable bool
	get     func(limits) time.Duration
}{
	{"limit: round trip between two goroutines", false, func(l limits) time.Duration { return l.channel }},
	{"limit: write and sync one file", true, func(l limits) time.Duration { return l.sync }},
	{"limit: write and sync three files at a time", true, func(l limits) time.Duration { return l.three }},
	{"limit: TCP round trip", true, func(l limits) time.Duration { return l.tcp }},
	{"limit: replication without Raft", true, func(l limits) time.Duration { return l.bare }},
}

// text are the tables for a terminal.
func (r *report) text() []string {
	var lines []string
	for _, size := range r.sizes {
		lines = append(lines, fmt.Sprintf("%-48s %10s %9s %9s %9s %9s", fmt.Sprintf("%d bytes, medians", size), "ops/s", "p50 µs", "p99 µs", "CPU µs/op", "B/op"))
		for _, s := range r.systems {
			for _, n := range r.clients {
				f := r.median(s, size, n)
				lines = append(lines, fmt.Sprintf("%-40s C=%-5d %10.0f %9s %9s %9s %9.0f", s, n, f.rate, micro(f.p50), micro(f.p99), micro(f.cpu), f.allocated))
			}
		}
		for _, l := range limitRows {
			d := r.limit(size, l.get)
			lines = append(lines, fmt.Sprintf("%-48s %10.0f %9s", l.name, 1/d.Seconds(), micro(d)))
		}
	}
	return lines
}

// writeDocs replaces the tables in the project's pages.
func (r *report) writeDocs(t *testing.T) {
	if len(r.systems) != len(systems) || len(r.sizes) != 2 || len(r.clients) != 3 || !*full {
		t.Fatal("-write needs a full run of all libraries, sizes and clients")
	}
	var long strings.Builder
	fmt.Fprintf(&long, "Measured on %s with %s on %d cores of %s, medians of %d interleaved rounds of %gs.\n", time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.NumCPU(), processor(), *rounds, *seconds)
	for _, durable := range []bool{false, true} {
		for _, size := range r.sizes {
			long.WriteString("\n" + r.longTable(durable, size))
		}
	}
	replaceSection(t, "../../docs/library/speed.md", "summary", r.shortTable())
	replaceSection(t, "../../docs/library/speed.md", "libraries", long.String())
	replaceSection(t, "../../README.md", "speed", r.shortTable())
}

// processor is the name of the processor.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	_, name, found := strings.Cut(string(info), "model name\t: ")
	if !found {
		return runtime.GOARCH
	}
	name, _, _ = strings.Cut(name, "\n")
	return name
}

// shortTable has the rates for the smaller size.
func (r *report) shortTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| proposals a second, %d B | %d client | %d | %d |\n|---|---|---|---|\n", r.sizes[0], r.clients[0], r.clients[1], r.clients[2])
	for _, s := range r.systems {
		fmt.Fprintf(&b, "| %s |", s)
		for _, n := range r.clients {
			fmt.Fprintf(&b, " %s |", printable(r.median(s, r.sizes[0], n).rate))
		}
		b.WriteString("\n")
	}
	for _, l := range limitRows {
		fmt.Fprintf(&b, "| %s | %s | | |\n", l.name, printable(1/r.limit(r.sizes[0], l.get).Seconds()))
	}
	return b.String()
}

func (r *report) longTable(durable bool, size int) string {
	place := "in memory"
	if durable {
		place = "durable over TCP"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| %d B, %s | clients | ops/s | p50 µs | p99 µs | CPU µs/op | B/op |\n|---|---|---|---|---|---|---|\n", size, place)
	for _, s := range r.systems {
		if s.durable != durable {
			continue
		}
		for _, n := range r.clients {
			f := r.median(s, size, n)
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s |\n", s.name, n, printable(f.rate), micro(f.p50), micro(f.p99), micro(f.cpu), printable(f.allocated))
		}
	}
	for _, l := range limitRows {
		if l.durable == durable {
			d := r.limit(size, l.get)
			fmt.Fprintf(&b, "| %s | | %s | %s | | | |\n", l.name, printable(1/d.Seconds()), micro(d))
		}
	}
	return b.String()
}

// replaceSection replaces the lines between a page's markers
// <!-- NAME: generated --> and <!-- end -->.
func replaceSection(t *testing.T, path, name, text string) {
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin := fmt.Sprintf("<!-- %s: generated -->\n", name)
	before, rest, found := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, "<!-- end -->\n")
	if !found || !closed {
		t.Fatalf("%s has no section %q", path, name)
	}
	page = []byte(before + begin + "\n" + text + "\n<!-- end -->\n" + after)
	if err := os.WriteFile(path, page, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: section %s is new", path, name)
}
