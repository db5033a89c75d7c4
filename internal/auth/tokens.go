package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// DefaultTTL is the default lifetime of tokens.
const DefaultTTL = 5 * time.Minute

// ErrOptions is matched by the error of a wrong specification of tokens.
var ErrOptions = errors.New("auth: wrong options of tokens")

// Tokens issues and verifies tokens, and checks passwords. Its methods may be called from
// any goroutine.
type Tokens struct {
	ttl time.Duration
	jwt *jwtKeys // nil for simple tokens

	cost     int           // of bcrypt
	checking chan struct{} // has a place for each password that may be checked now
	decoy    func() []byte // a hash that no password has

	mu    sync.Mutex
	used  map[string]time.Time // simple tokens, with the time of the last use
	swept time.Time            // when expired tokens were last dropped
}

// maxUsed bounds the simple tokens whose last use is remembered. Further tokens live as
// long as without a use.
const maxUsed = 10_000

// NewTokens returns the tokens of a specification in the form of etcd's flag --auth-token:
// "simple", or "jwt" with the options pub-key, priv-key, sign-method and ttl. "" stands
// for "simple". ttl is the lifetime of simple tokens after their last use, and cost the
// cost of hashing a password with bcrypt. 0 stands for the default of both.
func NewTokens(specification string, ttl time.Duration, cost int) (*Tokens, error) {
	if ttl == 0 {
		ttl = DefaultTTL
	}
	if cost == 0 {
		cost = bcrypt.DefaultCost
	}
	switch {
	case ttl < 0:
		return nil, fmt.Errorf("%w: a lifetime of %v; want more than 0", ErrOptions, ttl)
	case cost < bcrypt.MinCost || cost > bcrypt.MaxCost:
		return nil, fmt.Errorf("%w: a cost of %d for bcrypt; want %d to %d", ErrOptions, cost, bcrypt.MinCost, bcrypt.MaxCost)
	}
	t := &Tokens{ttl: ttl, cost: cost, checking: make(chan struct{}, runtime.GOMAXPROCS(0)), used: make(map[string]time.Time)}
	t.decoy = sync.OnceValue(func() []byte {
		hash, _ := bcrypt.GenerateFromPassword([]byte("decoy"), cost) // no error with a valid cost
		return hash
	})
	kind, options, _ := strings.Cut(specification, ",")
	switch kind {
	case "", "simple":
		if options != "" {
			return nil, fmt.Errorf("%w: simple tokens have no options; got %q", ErrOptions, options)
		}
		return t, nil
	case "jwt":
		var err error
		t.jwt, err = newJWTKeys(options)
		return t, err
	}
	return nil, fmt.Errorf("%w: tokens of kind %q; want simple or jwt", ErrOptions, kind)
}

// Hash hashes a password. Passwords of more than 72 bytes are refused.
func (t *Tokens) Hash(ctx context.Context, password string) (hash []byte, err error) {
	err = t.limited(ctx, func() error {
		hash, err = bcrypt.GenerateFromPassword([]byte(password), t.cost)
		return err
	})
	return hash, err
}

// limited calls do as soon as a processor is free for do. bcrypt takes a tenth of a second
// of a processor by design, so requests for it must not pile up.
func (t *Tokens) limited(ctx context.Context, do func() error) error {
	select {
	case t.checking <- struct{}{}:
		defer func() { <-t.checking }()
		return do()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Authenticate checks a password, and returns a token for the user.
func (t *Tokens) Authenticate(ctx context.Context, s *State, user, password string) (token string, err error) {
	u, ok := s.User(user)
	hash := t.decoy
	switch {
	case !s.Enabled():
		return "", ErrNotEnabled
	case ok && u.NoPassword:
		return "", ErrNoPassword
	case ok:
		hash = func() []byte { return u.Hash }
	}
	// An unknown user takes the same time as a wrong password.
	err = t.limited(ctx, func() error { return bcrypt.CompareHashAndPassword(hash(), []byte(password)) })
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case !ok || err != nil:
		return "", ErrFailed
	case t.jwt != nil:
		return t.jwt.issue(user, s.Revision())
	}
	return simpleToken(s, user, u.Since, s.Revision(), time.Now()), nil
}

// Identify returns the user of a token. ahead reports that the token is from a later state
// than s, so that the caller can wait for that state and try again.
func (t *Tokens) Identify(s *State, token string) (who Identity, ahead bool, err error) {
	if t.jwt != nil {
		who, err = t.jwt.verify(token)
		return who, err == nil && who.Revision > s.Revision(), err
	}
	return t.identifySimple(s, token)
}

// A simple token is the name of the user, the revision of the user's password, the
// revision of the state, and the time, with a HMAC-SHA-256 of them under the key in the
// state. A new password or a new user of the same name ends the tokens. Enabling access
// control ends all tokens.
func simpleToken(s *State, user string, since, revision uint64, now time.Time) string {
	content := binary.AppendUvarint(nil, since)
	content = binary.AppendUvarint(content, revision)
	content = binary.AppendUvarint(content, uint64(now.Unix()))
	content = append(content, user...)
	return base64.RawURLEncoding.EncodeToString(content) + "." + base64.RawURLEncoding.EncodeToString(sign(s, content))
}

func sign(s *State, content []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(content)
	return mac.Sum(nil)
}

func (t *Tokens) identifySimple(s *State, token string) (who Identity, ahead bool, err error) {
	first, second, _ := strings.Cut(token, ".")
	content, errContent := base64.RawURLEncoding.DecodeString(first)
	signature, errSignature := base64.RawURLEncoding.DecodeString(second)
	if errContent != nil || errSignature != nil {
		return who, false, ErrToken
	}
	var numbers [3]uint64
	rest := content
	for i := range numbers {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return who, false, ErrToken
		}
		numbers[i], rest = n, rest[size:]
	}
	user := string(rest)
	u, ok := s.User(user)
	switch {
	case !ok || u.Since != numbers[0] || !hmac.Equal(signature, sign(s, content)):
		return who, numbers[1] > s.Revision(), ErrToken
	case !t.alive(token, time.Unix(int64(numbers[2]), 0)):
		return who, false, ErrToken
	}
	return Identity{user, s.Revision()}, false, nil
}

// alive reports whether a simple token is not expired, and prolongs its life.
func (t *Tokens) alive(token string, issued time.Time) bool {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.used[token]
	if !known || last.Before(issued) {
		last = issued
	}
	if now.Sub(last) >= t.ttl {
		delete(t.used, token)
		return false
	}
	if !known && len(t.used) >= maxUsed && now.Sub(t.swept) >= t.ttl/10 {
		t.swept = now
		for one, at := range t.used {
			if now.Sub(at) >= t.ttl {
				delete(t.used, one)
			}
		}
	}
	if known || len(t.used) < maxUsed {
		t.used[token] = now
	}
	return true
}
