//go:build linux

package histories

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// breaker breaks a cluster under load, and counts what it does.
type breaker struct {
	*load
	done map[string]int
	// timeline has the faults with their times, for a failed run.
	timeline []string
	newest   int // number of the newest member that was added
}

// fault breaks something for a while, and mends it.
type fault struct {
	name string
	// needs says what the machine has to permit, nil for nothing.
	needs func(b *breaker) bool
	run   func(b *breaker)
}

func isolated(b *breaker) bool { return b.net != nil }
func ownDisks(b *breaker) bool { return b.disks }

var faults = []fault{
	{"kill a member", nil, func(b *breaker) { b.kill(b.any()) }},
	{"kill all members", nil, func(b *breaker) {
		for _, p := range b.members {
			p.end(syscall.SIGKILL)
		}
		b.wait(100)
		for _, p := range b.members {
			b.restart(p)
		}
	}},
	{"stop a member", nil, func(b *breaker) {
		p := b.any()
		p.signal(syscall.SIGSTOP)
		b.wait(2500)
		p.signal(syscall.SIGCONT)
	}},
	{"stop most members", nil, func(b *breaker) {
		most := b.members[:len(b.members)/2+1]
		for _, p := range most {
			p.signal(syscall.SIGSTOP)
		}
		b.wait(1500)
		for _, p := range most {
			p.signal(syscall.SIGCONT)
		}
	}},
	{"rolling restart", nil, func(b *breaker) {
		for _, p := range b.members {
			p.end(syscall.SIGTERM)
			b.restart(p)
			for i := 0; i < 100 && !p.ready(); i++ {
				time.Sleep(50 * time.Millisecond)
			}
		}
	}},
	{"compact", nil, (*breaker).compact},
	{"new watch", nil, func(b *breaker) {
		at, _ := b.watchers[0].standing()
		b.watch(fmt.Sprint("watch ", len(b.watchers)), prefix+[]string{"", "t", "l", "1"}[rand.IntN(4)], max(at-int64(rand.IntN(100)), 2))
	}},
	{"member added and removed", nil, (*breaker).change},
	{"cut a member off its members", isolated, func(b *breaker) {
		i := 1 + rand.IntN(len(b.members))
		for j := range len(b.members) {
			b.net.cut(i, j+1)
			b.net.cut(j+1, i)
		}
		b.wait(3000)
		b.net.healAll()
	}},
	{"cut one direction", isolated, func(b *breaker) {
		b.net.cut(1+rand.IntN(len(b.members)), 1+rand.IntN(len(b.members)))
		b.wait(3000)
		b.net.healAll()
	}},
	{"unplug a member", isolated, func(b *breaker) {
		i := 1 + rand.IntN(len(b.members))
		b.net.unplug(i, true)
		b.wait(3000)
		b.net.unplug(i, false)
	}},
	{"full disk", ownDisks, func(b *breaker) {
		p := b.any()
		filler := filepath.Join(p.dir, "filler")
		p.fill()
		_ = exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=64k").Run() // until the disk is full
		b.wait(3000)
		_ = os.Remove(filler)
		b.restart(p)
	}},
	{"stuck disk", ownDisks, func(b *breaker) {
		p := b.any()
		_ = exec.Command("fsfreeze", "-f", p.dir).Run()
		b.wait(2500)
		_ = exec.Command("fsfreeze", "-u", p.dir).Run()
	}},
	{"slow disk", ownDisks, func(b *breaker) {
		p := b.any()
		for range 10 {
			_ = exec.Command("fsfreeze", "-f", p.dir).Run()
			time.Sleep(150 * time.Millisecond)
			_ = exec.Command("fsfreeze", "-u", p.dir).Run()
			time.Sleep(20 * time.Millisecond)
		}
	}},
	{"another clock after a restart", isolated, func(b *breaker) {
		p := b.any()
		p.end(syscall.SIGKILL)
		p.shift = rand.IntN(1_000_000)
		b.restart(p)
	}},
}

// fill notes that the disk of a process gets full.
func (p *process) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = true
}

func (b *breaker) any() *process { return b.members[rand.IntN(len(b.members))] }

// wait waits for up to ms milliseconds.
func (b *breaker) wait(ms int) { time.Sleep(time.Duration(100+rand.IntN(ms)) * time.Millisecond) }

func (b *breaker) kill(p *process) {
	p.end(syscall.SIGKILL)
	b.wait(1000)
	b.restart(p)
}

// compact compacts what all watches have behind them.
func (b *breaker) compact() {
	behind := int64(1 << 62)
	for _, w := range b.watchers {
		at, _ := w.standing()
		behind = min(behind, at)
	}
	if behind -= 300; behind < 2 {
		return
	}
	cli := b.client(b.members...)
	defer cli.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _ = cli.Compact(ctx, behind) // others may have compacted already
}

// change adds a member, and removes it.
func (b *breaker) change() {
	n := len(b.members) + 1
	p := b.newProcess(n, b.members[0].binary)
	b.newest++
	p.name = fmt.Sprint("extra", b.newest)
	p.args = append(p.args, "--name", p.name, "--data", filepath.Join(p.dir, p.name), "--join", "http://"+b.any().client)
	defer func() {
		if b.disks {
			_ = exec.Command("umount", p.dir).Run()
		}
		_ = os.RemoveAll(p.dir)
		_ = os.Remove(p.dir + ".img")
	}()
	named := p.name
	p.name = fmt.Sprint("n", n) // of the namespace
	p.guest = true
	if b.start(p) != nil {
		return
	}
	for i := 0; i < 100 && p.running() && !p.ready(); i++ {
		time.Sleep(50 * time.Millisecond)
	}
	joined := p.ready()
	b.wait(1000)
	cli := b.client(b.members...)
	defer cli.Close()
	for range 20 {
		if b.remove(cli, named, p.peer) {
			break
		}
		time.Sleep(250 * time.Millisecond)
	}
	p.end(syscall.SIGKILL)
	if joined {
		b.done["(members that joined)"]++
	}
}

// remove removes the member of a name, or of an address, and reports whether no such
// member is left.
func (b *breaker) remove(cli *clientv3.Client, name, peer string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := cli.MemberList(ctx)
	if err != nil {
		return false
	}
	for _, m := range list.Members {
		if m.Name == name || len(m.PeerURLs) == 1 && strings.HasSuffix(m.PeerURLs[0], "/"+peer) {
			_, err := cli.MemberRemove(ctx, m.ID)
			return err == nil
		}
	}
	return true
}

// run breaks the cluster until the time is over.
func (b *breaker) run(d time.Duration, which func(f *fault) bool) {
	var usable []fault
	for _, f := range faults {
		if which(&f) && (f.needs == nil || f.needs(b)) {
			usable = append(usable, f)
		}
	}
	order := rand.Perm(len(usable))
	for begin, i := time.Now(), 0; time.Since(begin) < d; i++ {
		f := usable[order[i%len(order)]]
		b.done[f.name]++
		begun := b.now()
		f.run(b)
		b.timeline = append(b.timeline, fmt.Sprintf("%v to %v: %s", time.Duration(begun).Round(time.Millisecond), time.Duration(b.now()).Round(time.Millisecond), f.name))
		b.wait(1000)
		for _, p := range b.members {
			b.restart(p) // those that a fault has ended
		}
	}
}

// finish ends the load, waits until all watches have all events, and checks everything.
func (b *breaker) finish() {
	b.settle()
	b.end()
	cli := b.client(b.members...)
	defer cli.Close()
	last := b.awaitLeases(cli)
	deadline := time.Now().Add(30 * time.Second)
	for _, w := range b.watchers {
		for {
			at, err := w.standing()
			require.NoError(b, err)
			if at >= last {
				break
			}
			require.True(b, time.Now().Before(deadline), "%s stands at revision %d; want %d", w.name, at, last)
			time.Sleep(20 * time.Millisecond)
		}
	}
	b.cancel()
	b.hashes(last)
	require.NoError(b, b.panics())
	r := b.record(last)
	problems := r.check()
	b.report(r)
	if len(problems) > 0 {
		b.Logf("faults:\n%s", strings.Join(b.timeline, "\n"))
	}
	require.Empty(b, problems)
}

// awaitLeases waits until no lease is left, and returns the revision of a last write that
// all watches get.
func (b *breaker) awaitLeases(cli *clientv3.Client) int64 {
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		r, err := cli.Leases(ctx)
		cancel()
		if err == nil && len(r.Leases) == 0 {
			break
		}
		require.True(b, time.Now().Before(deadline), "leases are left: %v, %v", r, err)
		time.Sleep(100 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	o := operation{kind: "txn", client: -2, call: b.now()}
	var puts []clientv3.Op
	for _, key := range []string{"0", "1", "l", "t"} {
		c := change{key: prefix + key + "-last", value: b.value()}
		o.changes = append(o.changes, c)
		puts = append(puts, clientv3.OpPut(c.key, c.value))
	}
	done, err := cli.Txn(ctx).Then(puts...).Commit()
	require.NoError(b, err)
	b.answered(&o, nil, func() int64 { return done.Header.Revision })
	return done.Header.Revision
}

// record returns all that the clients have seen.
func (b *breaker) record(last int64) *record {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &record{operations: b.operations, holds: b.holds, last: last}
	for i, w := range b.watchers {
		w.mu.Lock()
		if i == 0 {
			r.history = slices.Clone(w.events)
		} else {
			r.watches = append(r.watches, watched{w.name, w.prefix, w.from, slices.Clone(w.events)})
		}
		w.mu.Unlock()
	}
	return r
}

// report logs the counts of a run.
func (b *breaker) report(r *record) {
	kinds := make(map[string][2]int)
	for _, o := range r.operations {
		k := kinds[o.kind]
		if k[0]++; !o.known || o.ret == 1<<63-1 {
			k[1]++
		}
		kinds[o.kind] = k
	}
	var text []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		text = append(text, fmt.Sprintf("%s %d (%d without an answer)", kind, kinds[kind][0], kinds[kind][1]))
	}
	events := len(r.history)
	for _, w := range r.watches {
		events += len(w.events)
	}
	b.Logf("%d operations: %s", len(r.operations), strings.Join(text, ", "))
	b.Logf("%d revisions, %d watches with %d events, %d leases", r.last, len(r.watches)+1, events, len(r.holds))
	for _, name := range slices.Sorted(maps.Keys(b.done)) {
		b.Logf("  %s: %d", name, b.done[name])
	}
}

func (c *cluster) breaker(clients int) *breaker {
	c.settle()
	b := &breaker{load: c.newLoad(clients), done: make(map[string]int)}
	for range 3 {
		b.watch(fmt.Sprint("watch ", len(b.watchers)), prefix, 2)
	}
	return b
}

// Three processes on loopback bear kills, stops and restarts for some seconds.
func TestHistories(t *testing.T) {
	t.Parallel()
	b := newCluster(t, 3, false).breaker(6)
	short := []string{"kill a member", "stop a member", "new watch"}
	b.run(2*time.Second, func(f *fault) bool { return slices.Contains(short, f.name) })
	b.finish()
}

// Three and five processes, in networks and on disks of their own, bear everything.
func TestHistoriesSoak(t *testing.T) {
	if os.Getenv("RAFTLAB_SOAK") == "" {
		t.Skip("takes minutes; RAFTLAB_SOAK=1 runs it")
	}
	length, err := time.ParseDuration(valueOr(os.Getenv("RAFTLAB_HISTORIES"), "10m"))
	require.NoError(t, err)
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			for begin := time.Now(); time.Since(begin) < length/2; {
				t.Run("run", func(t *testing.T) {
					b := newCluster(t, n, true).breaker(10)
					b.run(min(time.Minute, length/2), func(*fault) bool { return true })
					b.finish()
				})
				if t.Failed() {
					return
				}
			}
		})
	}
}

// Three processes of an earlier version are replaced by this version, one at a time, under
// load, and then all that the clients have seen is checked. Until the last one is replaced,
// the former version comes back on the data of this version. RAFTLAB_UPGRADE_FROM is a
// revision of the repository (default HEAD~1) or a program.
func TestRollingUpgrade(t *testing.T) {
	if os.Getenv("RAFTLAB_SOAK") == "" {
		t.Skip("builds two versions; RAFTLAB_SOAK=1 runs it")
	}
	former := formerVersion(t, valueOr(os.Getenv("RAFTLAB_UPGRADE_FROM"), "HEAD~1"))
	current, err := binary()
	require.NoError(t, err)
	c := newClusterOf(t, 3, false, former)
	b := c.breaker(6)
	replace := func(p *process, binary, what string) {
		b.wait(1500)
		p.end(syscall.SIGTERM)
		p.binary = binary
		b.restart(p)
		for begin := time.Now(); !p.ready(); time.Sleep(20 * time.Millisecond) {
			require.True(t, p.running() && time.Since(begin) < 30*time.Second, "%s is not ready: %s", p.name, what)
		}
		b.done[what]++
	}
	for i, p := range c.members {
		replace(p, current, "process replaced")
		if i < len(c.members)-1 { // the cluster has the former level
			replace(p, former, "former version back")
			replace(p, current, "process replaced again")
		}
	}
	b.wait(1500)
	b.finish()
}

// formerVersion builds raftlab of a revision.
func formerVersion(t *testing.T, revision string) string {
	if info, err := os.Stat(revision); err == nil && !info.IsDir() {
		return revision
	}
	dir := t.TempDir()
	root := filepath.Join("..", "..", "..")
	archive := exec.Command("sh", "-c", `git archive "$0" | tar -x -C "$1"`, revision, dir)
	archive.Dir = root
	if out, err := archive.CombinedOutput(); err != nil || len(out) > 0 {
		t.Skipf("there is no revision %s here: %v: %s", revision, err, out)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "raftlab.former"), "./cmd/raftlab")
	build.Dir = dir
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	return filepath.Join(dir, "raftlab.former")
}

func valueOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
