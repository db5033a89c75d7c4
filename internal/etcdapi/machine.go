package etcdapi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/internal/auth"
	"raftlab/kv"
	"raftlab/mvcc"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/rsm"
)

// Errors that an applied command has beside those of package mvcc. They follow from the
// state, as all results do.
var (
	errNoSpace = errors.New("etcdapi: an alarm refuses writes: the database space is exceeded")
	errCorrupt = errors.New("etcdapi: an alarm refuses requests: the cluster is corrupt")
	// errMissed is the outcome of a request whose entry a snapshot has jumped over.
	errMissed = errors.New("etcdapi: the entry was applied within a snapshot")
)

// scavengeBatch is how many compacted changes are released without a break.
const scavengeBatch = 1000

// picture is the immutable state after a call of Apply.
type picture struct {
	view    *mvcc.View
	auth    *auth.State
	alarms  []alarm // sorted
	members map[core.NodeID]attributes

	promotions []core.NodeID // learners that are to become voters
	level      int           // of the cluster

	counts   mvcc.Counts                  // of the operations since the start
	known    int                          // number of sessions
	sessions *rsm.Sessions[sessionResult] // a copy, in snapshots of the group alone
}

// outcome is what a request gets from the state machine.
type outcome struct {
	result  mvcc.Result
	written kv.Result // of a Write
	err     error
	picture *picture // after the batch of the request
}

// Machine is the replicated state: the store, the users, the alarms, and what members
// have published. A Machine is a [node.StateMachine]. Apply and the release of compacted
// versions use the state, one at a time. Others read the picture.
type Machine struct {
	id core.NodeID

	using   sync.Mutex // of the state
	store   *mvcc.Store
	former  mvcc.Counts // of stores that snapshots have replaced
	auth    *auth.State
	alarms  []alarm
	members map[core.NodeID]attributes

	promotions []core.NodeID // sorted, as alarms are
	level      int           // of the cluster
	newest     int           // level that this member reads
	sessions   *rsm.Sessions[sessionResult]

	current atomic.Pointer[picture]
	changed chan struct{} // has a token after a new picture

	compacted chan struct{} // has a token when versions are to be released

	revoked []int64 // leases, by commands that no picture has yet
	// onRevoke publishes a picture without leases that were revoked. nil means publish alone.
	onRevoke func(revoked []int64, publish func())

	mu        sync.Mutex
	alarmed   chan struct{} // closed after a change of the alarms, nil without a reader
	releasing chan struct{} // closed when the compacted versions are released, nil without any
	serial    uint64        // of the last request
	waiters   map[uint64]chan outcome
}

// NewMachine returns an empty state for a member.
func NewMachine(id core.NodeID) *Machine {
	// Requests of an earlier run of this member are in the log. The serial numbers of
	// this run begin at random, so an old entry ends no new request.
	m := &Machine{
		id: id, store: mvcc.New(), auth: auth.New(), sessions: rsm.NewSessions[sessionResult](MaxSessions),
		serial: rand.Uint64(), waiters: make(map[uint64]chan outcome), changed: make(chan struct{}, 1),
		compacted: make(chan struct{}, 1),
		level:     firstLevel, newest: Level,
	}
	m.publish()
	return m
}

// publish makes the state readable.
func (m *Machine) publish() *picture {
	p := &picture{view: m.store.View(), counts: m.former.Add(m.store.Counts()), known: m.sessions.Len(), auth: m.auth, alarms: m.alarms, members: m.members, promotions: m.promotions, level: m.level}
	if old := m.current.Swap(p); old != nil && !slices.Equal(old.alarms, p.alarms) {
		m.mu.Lock()
		if m.alarmed != nil {
			close(m.alarmed)
			m.alarmed = nil
		}
		m.mu.Unlock()
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
	return p
}

// alarmsChanged returns a channel that the next change of the alarms closes.
func (m *Machine) alarmsChanged() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.alarmed == nil {
		m.alarmed = make(chan struct{})
	}
	return m.alarmed
}

// await begins a request of this member.
func (m *Machine) await() (serial uint64, done chan outcome) {
	done = make(chan outcome, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.serial++
	m.waiters[m.serial] = done
	return m.serial, done
}

// pending returns the number of requests under way.
func (m *Machine) pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiters)
}

// forget ends a request.
func (m *Machine) forget(serial uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiters, serial)
}

// settled is the outcome of one of this member's requests.
type settled struct {
	serial uint64
	outcome
}

// Apply implements node.StateMachine.
func (m *Machine) Apply(commands []node.Command) {
	own, p := m.applyAll(commands)
	if len(own) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range own {
		if w := m.waiters[s.serial]; w != nil {
			delete(m.waiters, s.serial)
			s.picture = p
			w <- s.outcome
		}
	}
}

// applyAll applies commands, and returns the outcomes of this member's requests and the
// picture afterwards.
func (m *Machine) applyAll(commands []node.Command) (own []settled, after *picture) {
	m.using.Lock()
	defer m.using.Unlock()
	for _, c := range commands {
		e, err := decodeEntry(c.Data)
		if err == nil {
			err = checkLevel(e.level, m.newest)
		}
		switch {
		case errors.Is(err, ErrFormat): // a newer member executes the entry
			panic(fmt.Errorf("entry %d of term %d: %w; %s", c.Index, c.Term, err, upgradeAdvice))
		case err != nil: // every member refuses the entry
			continue
		}
		var o outcome
		if e.write != nil {
			o.written, o.err = m.execute(e.write)
		} else {
			o.result, o.err = m.apply(&e)
		}
		if e.origin == m.id {
			own = append(own, settled{e.serial, o})
		}
	}
	m.followRelease(m.store.Scavenge(0))
	if len(m.revoked) > 0 && m.onRevoke != nil {
		m.onRevoke(m.revoked, func() { after = m.publish() })
	} else {
		after = m.publish()
	}
	m.revoked = nil
	return own, after
}

// followRelease notes whether compacted versions are left to be released.
func (m *Machine) followRelease(more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case more && m.releasing == nil:
		m.releasing = make(chan struct{})
		select {
		case m.compacted <- struct{}{}:
		default:
		}
	case !more && m.releasing != nil:
		close(m.releasing)
		m.releasing = nil
	}
}

// release releases the memory of compacted versions until ctx ends. Between two batches
// Apply goes on.
func (m *Machine) release(ctx context.Context) {
	for {
		select {
		case <-m.compacted:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil && m.releaseBatch() {
		}
	}
}

func (m *Machine) releaseBatch() (more bool) {
	m.using.Lock()
	defer m.using.Unlock()
	more = m.store.Scavenge(scavengeBatch)
	m.publish()
	m.followRelease(more)
	return more
}

// released waits until the memory of compacted versions is released.
func (m *Machine) released(ctx context.Context) error {
	m.mu.Lock()
	releasing := m.releasing
	m.mu.Unlock()
	if releasing == nil {
		return nil
	}
	select {
	case <-releasing:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *Machine) apply(e *entry) (mvcc.Result, error) {
	switch {
	case e.alarm != nil:
		m.setAlarm(*e.alarm)
	case e.publish != nil:
		m.setAttributes(*e.publish)
	case e.promotion != nil:
		m.promotions = slices.DeleteFunc(slices.Clone(m.promotions), func(id core.NodeID) bool { return id == e.promotion.member })
		if e.promotion.wanted {
			m.promotions = append(m.promotions, e.promotion.member)
			slices.Sort(m.promotions)
		}
	case e.level != 0:
		m.level = max(m.level, e.level)
	case e.auth != nil:
		return mvcc.Result{Revision: m.store.Revision()}, m.changeAuth(e)
	default:
		err := m.refusal(grows(e.command))
		if err == nil {
			err = m.permit(e)
		}
		if err != nil {
			return mvcc.Result{Revision: m.store.Revision()}, err
		}
		result, err := m.store.Apply(*e.command)
		if err == nil && e.command.Revoke != nil {
			m.revoked = append(m.revoked, e.command.Revoke.Lease)
		}
		return result, err
	}
	return mvcc.Result{Revision: m.store.Revision()}, nil
}

// changeAuth changes the users and roles, if the caller may.
func (m *Machine) changeAuth(e *entry) error {
	if err := m.refusal(false); err != nil {
		return err
	}
	if err := m.auth.Administer(e.caller.Identity); err != nil {
		return err
	}
	next, err := m.auth.Apply(*e.auth)
	m.auth = next
	return err
}

// permit checks the permissions of a command again. The members agree on the state of the
// users here, so a permission that was revoked before the command no longer counts.
func (m *Machine) permit(e *entry) error {
	if e.caller.own || !m.auth.Enabled() {
		return nil
	}
	return (&permissions{state: m.auth, who: e.caller.Identity, leases: m.store}).command(e.command)
}

// setAttributes records what a member has published. Attributes without a name and
// addresses remove those of the member.
func (m *Machine) setAttributes(a attributes) {
	m.members = maps.Clone(m.members)
	if m.members == nil {
		m.members = make(map[core.NodeID]attributes)
	}
	if m.members[a.member] = a; a.name == "" && len(a.clientURLs) == 0 {
		delete(m.members, a.member)
	}
}

func (m *Machine) setAlarm(c alarmChange) {
	at := slices.Index(m.alarms, c.alarm)
	switch {
	case c.raised && at < 0:
		m.alarms = append(slices.Clip(m.alarms), c.alarm)
		slices.SortFunc(m.alarms, compareAlarms)
	case !c.raised && at >= 0:
		m.alarms = slices.Delete(slices.Clone(m.alarms), at, at+1)
	}
}

func compareAlarms(a, b alarm) int {
	if a.member != b.member {
		if a.member < b.member {
			return -1
		}
		return 1
	}
	return int(a.kind) - int(b.kind)
}

// refusal returns the alarm that refuses a command, which may take more space or not.
func (m *Machine) refusal(grows bool) error {
	switch {
	case m.raised(pb.AlarmType_CORRUPT):
		return errCorrupt
	case m.raised(pb.AlarmType_NOSPACE) && grows:
		return errNoSpace
	}
	return nil
}

func (m *Machine) raised(kind pb.AlarmType) bool { return raised(m.alarms, kind) }

func raised(all []alarm, kind pb.AlarmType) bool {
	return slices.ContainsFunc(all, func(a alarm) bool { return a.kind == kind })
}

// grows reports whether a command may take more space: puts, also those of
// transactions, and grants of leases.
func grows(c *mvcc.Command) bool {
	return c.Put != nil || c.Grant != nil || c.Txn != nil && puts(c.Txn)
}

func puts(r *mvcc.TxnRequest) bool {
	for _, ops := range [][]mvcc.Op{r.Then, r.Else} {
		for _, op := range ops {
			if op.Put != nil || op.Txn != nil && puts(op.Txn) {
				return true
			}
		}
	}
	return false
}

// Snapshot implements node.StateMachine.
func (m *Machine) Snapshot() (io.WriterTo, error) {
	m.using.Lock()
	defer m.using.Unlock()
	p := *m.current.Load()
	p.sessions = m.sessions.Copy()
	return &p, nil
}

// pictureMagic begins a snapshot. The last byte is the version of the format. The head
// follows, with its length and CRC-32C, and then the snapshot of the store. The head has
// the alarms, the members and the promotions. Since format 2 sections follow in the head.
// A section has a number, its length and its content. Format 3 may have the section of the
// level. A snapshot has the oldest format with room for its content.
const (
	pictureMagic  = "raftlab etcd"
	pictureFormat = 3
	plainFormat   = 2
)

// Sections of a snapshot's head. The numbers never change.
const (
	sectionSessions = 1
	sectionAuth     = 2 // users and roles
	sectionLevel    = 3
)

// maxPictureHead bounds the head of a snapshot.
const maxPictureHead = 64 << 20

var errSnapshot = errors.New("etcdapi: the snapshot is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteTo writes the picture as a snapshot.
func (p *picture) WriteTo(w io.Writer) (int64, error) {
	head := binary.AppendUvarint(nil, uint64(len(p.alarms)))
	for _, a := range p.alarms {
		head = binary.AppendUvarint(head, uint64(a.member))
		head = binary.AppendUvarint(head, uint64(a.kind))
	}
	head = binary.AppendUvarint(head, uint64(len(p.members)))
	for _, id := range slices.Sorted(maps.Keys(p.members)) {
		a := p.members[id]
		head = a.append(head)
	}
	head = binary.AppendUvarint(head, uint64(len(p.promotions)))
	for _, id := range p.promotions {
		head = binary.AppendUvarint(head, uint64(id))
	}
	if p.sessions != nil {
		head = appendSection(head, sectionSessions, appendSessions(nil, p.sessions))
	}
	users, err := p.auth.Encode()
	if err != nil {
		return 0, err
	}
	head = appendSection(head, sectionAuth, users)
	format := byte(plainFormat)
	if p.sessions != nil && p.level > firstLevel { // a snapshot of the group
		format = pictureFormat
		head = appendSection(head, sectionLevel, binary.AppendUvarint(nil, uint64(p.level)))
	}
	out := append([]byte(pictureMagic), format)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(head)))
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(head, castagnoli))
	n, err := w.Write(append(out, head...))
	if err != nil {
		return int64(n), err
	}
	rest, err := p.view.WriteTo(w)
	return int64(n) + rest, err
}

func appendSection(to []byte, number uint64, content []byte) []byte {
	to = binary.AppendUvarint(to, number)
	to = binary.AppendUvarint(to, uint64(len(content)))
	return append(to, content...)
}

// ErrFormat is matched by the error of a snapshot or a log entry in another version of the
// format. The error names the version.
var ErrFormat = errors.New("etcdapi: another version has written this")

// checkPictureMagic checks the first bytes of a snapshot.
func checkPictureMagic(begin []byte) error {
	rest, ok := bytes.CutPrefix(begin, []byte(pictureMagic))
	switch {
	case !ok:
		return fmt.Errorf("%w: it begins with %q; want %q", errSnapshot, begin[:len(pictureMagic)], pictureMagic)
	case rest[0] < 1 || rest[0] > pictureFormat:
		return fmt.Errorf("%w: version %d; this version of raftlab reads versions 1 to %d", ErrFormat, rest[0], pictureFormat)
	}
	return nil
}

// readPicture reads a snapshot.
func readPicture(r io.Reader) (*mvcc.Store, *picture, error) {
	body, format, err := readHead(r)
	if err != nil {
		return nil, nil, err
	}
	p, err := parseHead(body, format)
	if err != nil {
		return nil, nil, err
	}
	store, err := mvcc.Restore(r)
	return store, p, err
}

// parseHead parses the head of a snapshot.
func parseHead(body []byte, format byte) (*picture, error) {
	p := &picture{members: make(map[core.NodeID]attributes), auth: auth.New(), level: firstLevel}
	f := fields{data: body}
	for n := f.uvarint(); n > 0 && !f.failed; n-- {
		p.alarms = append(p.alarms, alarm{core.NodeID(f.uvarint()), pb.AlarmType(f.uvarint())})
	}
	for n := f.uvarint(); n > 0 && !f.failed; n-- {
		a := f.attributes()
		p.members[a.member] = a
	}
	for n := f.uvarint(); n > 0 && !f.failed; n-- {
		p.promotions = append(p.promotions, core.NodeID(f.uvarint()))
	}
	for format > 1 && len(f.data) > 0 && !f.failed {
		number, content := f.uvarint(), f.bytes(f.uvarint())
		if f.failed {
			break
		}
		if err := p.parseSection(number, content); err != nil {
			return nil, fmt.Errorf("%w: %w", errSnapshot, err)
		}
	}
	if f.failed || len(f.data) > 0 {
		return nil, fmt.Errorf("%w: the head", errSnapshot)
	}
	return p, nil
}

func (p *picture) parseSection(number uint64, content []byte) (err error) {
	switch number {
	case sectionSessions:
		f := fields{data: content}
		if p.sessions = f.sessions(); f.failed {
			err = errors.New("the sessions")
		}
	case sectionLevel:
		f := fields{data: content}
		if p.level = int(min(f.uvarint(), math.MaxInt32)); f.failed || len(f.data) > 0 {
			err = errors.New("the level")
		}
	case sectionAuth:
		p.auth, err = auth.DecodeState(content)
	default:
		err = fmt.Errorf("section %d, which this version does not know", number)
	}
	return err
}

// readHead reads the head of a snapshot, and returns the version of the format.
func readHead(r io.Reader) (body []byte, format byte, err error) {
	start := make([]byte, len(pictureMagic)+9)
	if _, err := io.ReadFull(r, start); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errSnapshot, err)
	}
	if err := checkPictureMagic(start); err != nil {
		return nil, 0, err
	}
	rest := start[len(pictureMagic):]
	format = rest[0]
	size := binary.LittleEndian.Uint32(rest[1:])
	if size > maxPictureHead {
		return nil, 0, fmt.Errorf("%w: %d bytes of alarms and members; the limit is %d", errSnapshot, size, maxPictureHead)
	}
	var head bytes.Buffer // grows with what is there
	if _, err := io.CopyN(&head, r, int64(size)); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errSnapshot, err)
	}
	if sum := crc32.Checksum(head.Bytes(), castagnoli); sum != binary.LittleEndian.Uint32(rest[5:]) {
		return nil, 0, fmt.Errorf("%w: checksum %08x of the alarms and members", errSnapshot, sum)
	}
	return head.Bytes(), format, nil
}

// Restore implements node.StateMachine.
func (m *Machine) Restore(body io.Reader) error {
	store, p, err := readPicture(body)
	if err != nil {
		return err
	}
	if err := checkLevel(p.level, m.newest); err != nil {
		return fmt.Errorf("%w; %s", err, upgradeAdvice)
	}
	m.replace(store, p)
	m.mu.Lock()
	defer m.mu.Unlock()
	for serial, w := range m.waiters {
		delete(m.waiters, serial)
		w <- outcome{err: errMissed}
	}
	return nil
}

// replace replaces the state.
func (m *Machine) replace(store *mvcc.Store, p *picture) {
	m.using.Lock()
	defer m.using.Unlock()
	m.former = m.former.Add(m.store.Counts())
	m.store, m.auth, m.alarms, m.members, m.promotions, m.sessions, m.level = store, p.auth, p.alarms, p.members, p.promotions, p.sessions, p.level
	if m.sessions == nil { // a snapshot of format 1, or one for clients
		m.sessions = rsm.NewSessions[sessionResult](MaxSessions)
	}
	m.followRelease(m.store.Scavenge(0))
	m.publish()
}
