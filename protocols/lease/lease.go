// Package lease has leases from a lock service, and fencing tokens, with clocks that drift.
//
// A lock whose holder has crashed is never released. A lease is a lock with an end (Gray and
// Cheriton, Leases, SOSP 1989). The service does not grant the lease to another client before
// the end, by the service's clock. The holder stops at the end, by the holder's clock. Clocks drift, so
// the holder must stop earlier. With rates between 1-d and 1+d, a span of S on the service's clock
// lasts at least S/(1+d). The holder counts S(1-d)/(1+d) on the holder's clock from the sending of
// the request. This time lasts at most S/(1+d).
//
// The bound fails in practice. A clock is worse than expected, or the holder pauses (garbage
// collection, a suspended machine) between the check of the lease and the arrival of the write. A
// fencing token holds without clocks. Each grant has a larger number than the grants before. The
// client sends the token with each write, and the [Store] refuses a token smaller than one seen
// before (Chubby's sequencers, Burrows, OSDI 2006).
//
// The service here is one node. A real one is replicated by consensus.
package lease

import (
	"sync"
	"time"

	"raftlab/labrpc"
)

// A Clock runs Rate times as fast as real time.
type Clock struct {
	Rate  float64
	start time.Time
}

// NewClock returns a clock with a rate.
func NewClock(rate float64) *Clock { return &Clock{rate, time.Now()} }

// Now returns the time since the start, on this clock.
func (c *Clock) Now() time.Duration { return time.Duration(float64(time.Since(c.start)) * c.Rate) }

// A Grant answers a request. Without OK, another client has the lease.
type Grant struct {
	OK    bool
	Token int // larger than those of earlier leases
}

// A Service grants one lease at a time.
type Service struct {
	clock *Clock
	span  time.Duration

	mu     sync.Mutex
	holder string
	until  time.Duration
	token  int
}

// NewService returns a service whose leases last span on its clock.
func NewService(clock *Clock, span time.Duration) *Service {
	return &Service{clock: clock, span: span}
}

// Acquire grants or extends the lease. An extended lease keeps the token.
func (s *Service) Acquire(client string, g *Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if s.holder != client || now >= s.until {
		if now < s.until {
			return
		}
		s.holder = client
		s.token++
	}
	s.until = now + s.span
	*g = Grant{true, s.token}
}

// A Client acquires the lease. One goroutine at a time uses a client.
type Client struct {
	service *labrpc.ClientEnd
	name    string
	clock   *Clock
	span    time.Duration // of validity, on the client's clock
	until   time.Duration
	token   int
}

// NewClient returns a client. The service's span and the bound of drift, such as 0.01 for one
// percent, are the same for all clients.
func NewClient(service *labrpc.ClientEnd, name string, clock *Clock, span time.Duration, drift float64) *Client {
	return &Client{service: service, name: name, clock: clock, span: time.Duration(float64(span) * (1 - drift) / (1 + drift))}
}

// Acquire asks for the lease, or for more time, and reports whether the client has the lease
// now.
func (c *Client) Acquire() bool {
	sent := c.clock.Now() // the service's span begins later
	var g Grant
	if c.service.Call("Service.Acquire", c.name, &g) && g.OK {
		c.until, c.token = sent+c.span, g.Token
	}
	return c.Holds()
}

// Holds reports whether the lease is valid by the client's clock.
func (c *Client) Holds() bool { return c.clock.Now() < c.until }

// Token returns the fencing token of the newest lease.
func (c *Client) Token() int { return c.token }

// A Write is a write with the token of its writer.
type Write struct {
	Token int
	Value string
}

// A Store keeps a value, and refuses stale tokens if it fences.
type Store struct {
	Fences bool

	mu    sync.Mutex
	value Write
}

// Put writes. The reply says whether the store has accepted the write.
func (s *Store) Put(w Write, ok *bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *ok = !s.Fences || w.Token >= s.value.Token; *ok {
		s.value = w
	}
}

// Value returns the newest accepted write.
func (s *Store) Value() Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value
}
