package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"raftlab/internal/auth"
	"raftlab/internal/testkit"
)

func newTokens(t *testing.T, specification string) *auth.Tokens {
	t.Helper()
	tokens, err := auth.NewTokens(specification, time.Minute, bcrypt.MinCost)
	require.NoError(t, err)
	return tokens
}

// withUser returns a state with the user u and a password.
func withUser(t *testing.T, tokens *auth.Tokens, password string) *auth.State {
	hash, err := tokens.Hash(context.Background(), password)
	require.NoError(t, err)
	return apply(t, rooted(t), auth.Change{Kind: auth.AddUser, User: "u", Hash: hash},
		auth.Change{Kind: auth.AddUser, User: "certified", NoPassword: true})
}

func TestPasswords(t *testing.T) {
	tokens, ctx := newTokens(t, ""), context.Background()
	s := withUser(t, tokens, "secret")
	for _, c := range []struct {
		user, password string
		want           error
	}{{"u", "secret", nil}, {"u", "Secret", auth.ErrFailed}, {"u", "", auth.ErrFailed}, {"x", "decoy", auth.ErrFailed}, {"certified", "", auth.ErrNoPassword}} {
		_, err := tokens.Authenticate(ctx, s, c.user, c.password)
		require.ErrorIs(t, err, c.want, "%+v", c)
	}
	_, err := tokens.Authenticate(ctx, auth.New(), "u", "secret")
	require.ErrorIs(t, err, auth.ErrNotEnabled)
	_, err = tokens.Hash(ctx, strings.Repeat("x", 73))
	require.ErrorIs(t, err, bcrypt.ErrPasswordTooLong)
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = tokens.Authenticate(canceled, s, "u", "secret")
	require.ErrorIs(t, err, context.Canceled)
}

// A simple token is good on each member, while the user has the password and for some
// time after the last use.
func TestSimpleTokens(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		here, there, ctx := newTokens(t, "simple"), newTokens(t, "simple"), context.Background()
		s := withUser(t, here, "secret")
		token, err := here.Authenticate(ctx, s, "u", "secret")
		require.NoError(t, err)
		who, _, err := there.Identify(s, token)
		require.NoError(t, err)
		require.Equal(t, auth.Identity{User: "u", Revision: s.Revision()}, who)

		later := apply(t, s, auth.Change{Kind: auth.AddUser, User: "other"})
		who, _, err = here.Identify(later, token)
		require.NoError(t, err)
		require.Equal(t, later.Revision(), who.Revision)

		for name, other := range map[string]*auth.State{
			"another password": apply(t, s, auth.Change{Kind: auth.SetPassword, User: "u", Hash: []byte("h")}),
			"the user's end":   apply(t, s, auth.Change{Kind: auth.DeleteUser, User: "u"}),
			"another user": apply(t, s, auth.Change{Kind: auth.DeleteUser, User: "u"},
				auth.Change{Kind: auth.AddUser, User: "u"}),
			"enabled again": apply(t, s, auth.Change{Kind: auth.Disable}, auth.Change{Kind: auth.Enable, Key: []byte("key 2")}),
		} {
			_, _, err := here.Identify(other, token)
			require.ErrorIs(t, err, auth.ErrToken, name)
		}
		_, ahead, err := here.Identify(rooted(t), token)
		require.ErrorIs(t, err, auth.ErrToken)
		require.True(t, ahead, "a member that is behind can wait for the user")

		for range 3 { // each use here prolongs the token here
			time.Sleep(50 * time.Second)
			_, _, err = here.Identify(s, token)
			require.NoError(t, err)
		}
		_, _, err = there.Identify(s, token)
		require.ErrorIs(t, err, auth.ErrToken, "the token was not used there")
		time.Sleep(time.Minute)
		_, _, err = here.Identify(s, token)
		require.ErrorIs(t, err, auth.ErrToken)
	})
}

// A token with one altered byte is refused.
func TestForgedTokens(t *testing.T) {
	tokens := newTokens(t, "")
	s := withUser(t, tokens, "secret")
	token, err := tokens.Authenticate(context.Background(), s, "u", "secret")
	require.NoError(t, err)
	content, signature, _ := strings.Cut(token, ".")
	for _, part := range []string{content, signature} {
		data, err := base64.RawURLEncoding.DecodeString(part)
		require.NoError(t, err)
		for i := range data {
			data[i] ^= 1
			forged := strings.Replace(token, part, base64.RawURLEncoding.EncodeToString(data), 1)
			_, _, err := tokens.Identify(s, forged)
			require.ErrorIs(t, err, auth.ErrToken, "byte %d of %q", i, part)
			data[i] ^= 1
		}
	}
	for _, token := range []string{"", ".", "a", "a.b.c", content, content + ".", "." + signature, "!." + signature} {
		_, _, err := tokens.Identify(s, token)
		require.ErrorIs(t, err, auth.ErrToken, "%q", token)
	}
}

// pemFile writes a key.
func pemFile(t *testing.T, dir, kind string, der []byte, err error) string {
	require.NoError(t, err)
	path := filepath.Join(dir, fmt.Sprintf("%d.pem", len(der)))
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

func TestJWT(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	edPrivate := pemFile(t, dir, "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(public)
	edPublic := pemFile(t, dir, "PUBLIC KEY", der, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err = x509.MarshalECPrivateKey(ec)
	ecPrivate := pemFile(t, dir, "EC PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(&ec.PublicKey)
	ecPublic := pemFile(t, dir, "PUBLIC KEY", der, err)
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("a secret of some length"), 0o600))

	for _, specification := range []string{
		"jwt,sign-method=EdDSA,priv-key=" + edPrivate + ",pub-key=" + edPublic,
		"jwt,sign-method=ES256,priv-key=" + ecPrivate + ",pub-key=" + ecPublic + ",ttl=1m",
		"jwt,sign-method=HS256,priv-key=" + secret,
	} {
		tokens := newTokens(t, specification)
		s := withUser(t, tokens, "secret")
		token, err := tokens.Authenticate(ctx, s, "u", "secret")
		require.NoError(t, err, specification)
		who, ahead, err := tokens.Identify(s, token)
		require.NoError(t, err, specification)
		require.False(t, ahead)
		require.Equal(t, auth.Identity{User: "u", Revision: s.Revision()}, who)
		_, ahead, err = tokens.Identify(auth.New(), token)
		require.NoError(t, err)
		require.True(t, ahead, "the token is from a later state")
		_, _, err = tokens.Identify(s, token[:len(token)-3])
		require.ErrorIs(t, err, auth.ErrToken)
	}

	// A member with the public key alone verifies, and signs nothing.
	verifier := newTokens(t, "jwt,sign-method=EdDSA,pub-key="+edPublic)
	s := withUser(t, verifier, "secret")
	token, err := newTokens(t, "jwt,sign-method=EdDSA,priv-key="+edPrivate).Authenticate(ctx, s, "u", "secret")
	require.NoError(t, err)
	_, _, err = verifier.Identify(s, token)
	require.NoError(t, err)
	_, err = verifier.Authenticate(ctx, s, "u", "secret")
	require.ErrorIs(t, err, auth.ErrOptions)

	expires := time.Now().Add(time.Hour).Unix()
	for name, c := range map[string]struct {
		method jwt.SigningMethod
		key    any
		claims jwt.MapClaims
	}{
		"no user":       {jwt.SigningMethodEdDSA, private, jwt.MapClaims{"revision": 1, "exp": expires}},
		"no revision":   {jwt.SigningMethodEdDSA, private, jwt.MapClaims{"username": "u", "exp": expires}},
		"no end":        {jwt.SigningMethodEdDSA, private, jwt.MapClaims{"username": "u", "revision": 1}},
		"over":          {jwt.SigningMethodEdDSA, private, jwt.MapClaims{"username": "u", "revision": 1, "exp": time.Now().Add(-time.Second).Unix()}},
		"another key":   {jwt.SigningMethodES256, ec, jwt.MapClaims{"username": "u", "revision": 1, "exp": expires}},
		"no signature":  {jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"username": "u", "revision": 1, "exp": expires}},
		"HMAC, not Ed":  {jwt.SigningMethodHS256, []byte(public), jwt.MapClaims{"username": "u", "revision": 1, "exp": expires}},
		"text revision": {jwt.SigningMethodEdDSA, private, jwt.MapClaims{"username": "u", "revision": "1", "exp": expires}},
	} {
		token, err := jwt.NewWithClaims(c.method, c.claims).SignedString(c.key)
		require.NoError(t, err, name)
		_, _, err = verifier.Identify(s, token)
		require.ErrorIs(t, err, auth.ErrToken, name)
	}

	for specification, says := range map[string]string{
		"other":                                    `kind "other"`,
		"simple,ttl=1s":                            "no options",
		"jwt":                                      "name=value",
		"jwt,ttl=1s":                               "needs a sign-method",
		"jwt,sign-method=none":                     `unknown sign-method "none"`,
		"jwt,sign-method=EdDSA":                    "priv-key or pub-key",
		"jwt,sign-method=HS256":                    "needs priv-key",
		"jwt,sign-method=EdDSA,ttl=-1s":            "more than 0",
		"jwt,sign-method=EdDSA,ttl=x":              "ttl",
		"jwt,sign-method=EdDSA,x=1":                `unknown option "x"`,
		"jwt,ttl=1s,ttl=2s":                        "each name once",
		"jwt,sign-method=EdDSA,priv-key=absent":    "absent",
		"jwt,sign-method=RS256,priv-key=" + secret: "RS256",
		"jwt,sign-method=EdDSA,priv-key=" + edPrivate + ",pub-key=" + ecPublic: "",
		"jwt,sign-method=ES256,priv-key=" + ecPrivate + ",pub-key=" + edPublic: "",
	} {
		_, err := auth.NewTokens(specification, 0, 0)
		require.ErrorIs(t, err, auth.ErrOptions, specification)
		if says != "RS256" {
			require.ErrorContains(t, err, says, specification)
		}
	}
	_, err = auth.NewTokens("", -1, 0)
	require.ErrorIs(t, err, auth.ErrOptions)
	_, err = auth.NewTokens("", 0, 99)
	require.ErrorIs(t, err, auth.ErrOptions)
}
