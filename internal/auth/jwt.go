package auth

import (
	"crypto"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// jwtKeys signs and verifies JSON web tokens.
type jwtKeys struct {
	method  jwt.SigningMethod
	private any // to sign; nil if this member only verifies
	public  any // to verify
	ttl     time.Duration
}

// newJWTKeys reads options as in "sign-method=RS256,priv-key=file,pub-key=file,ttl=5m".
func newJWTKeys(options string) (*jwtKeys, error) {
	k := &jwtKeys{ttl: DefaultTTL}
	var private, public []byte
	seen := make(map[string]bool)
	for option := range strings.SplitSeq(options, ",") {
		name, value, ok := strings.Cut(option, "=")
		if !ok || seen[name] {
			return nil, fmt.Errorf("%w: the option %q; want name=value, and each name once", ErrOptions, option)
		}
		seen[name] = true
		var err error
		switch name {
		case "sign-method":
			if k.method = jwt.GetSigningMethod(value); k.method == nil || value == "none" {
				return nil, fmt.Errorf("%w: unknown sign-method %q", ErrOptions, value)
			}
		case "ttl":
			if k.ttl, err = time.ParseDuration(value); err == nil && k.ttl <= 0 {
				err = fmt.Errorf("a lifetime of %v; want more than 0", k.ttl)
			}
		case "priv-key":
			private, err = os.ReadFile(value)
		case "pub-key":
			public, err = os.ReadFile(value)
		default:
			return nil, fmt.Errorf("%w: unknown option %q; want sign-method, priv-key, pub-key or ttl", ErrOptions, name)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrOptions, name, err)
		}
	}
	if k.method == nil {
		return nil, fmt.Errorf("%w: jwt needs a sign-method", ErrOptions)
	}
	if err := k.parse(private, public); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return k, nil
}

// parse parses the keys of the method. A public key alone verifies.
func (k *jwtKeys) parse(private, public []byte) (err error) {
	if _, ok := k.method.(*jwt.SigningMethodHMAC); ok {
		if len(private) == 0 {
			return fmt.Errorf("%s needs priv-key", k.method.Alg())
		}
		k.private, k.public = private, private
		return nil
	}
	if len(private) > 0 {
		signer, err := parsePrivate(k.method, private)
		if err != nil {
			return err
		}
		k.private, k.public = signer, signer.Public()
	}
	if len(public) > 0 {
		given, err := parsePublic(k.method, public)
		if err != nil {
			return err
		}
		if k.public != nil && !k.public.(interface{ Equal(crypto.PublicKey) bool }).Equal(given) {
			return fmt.Errorf("pub-key is not the public key of priv-key")
		}
		k.public = given
	}
	if k.public == nil {
		return fmt.Errorf("%s needs priv-key or pub-key", k.method.Alg())
	}
	return nil
}

func parsePrivate(method jwt.SigningMethod, pem []byte) (crypto.Signer, error) {
	switch method.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		return jwt.ParseRSAPrivateKeyFromPEM(pem)
	case *jwt.SigningMethodECDSA:
		return jwt.ParseECPrivateKeyFromPEM(pem)
	}
	key, err := jwt.ParseEdPrivateKeyFromPEM(pem)
	if err != nil {
		return nil, err
	}
	return key.(crypto.Signer), nil
}

func parsePublic(method jwt.SigningMethod, pem []byte) (crypto.PublicKey, error) {
	switch method.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		return jwt.ParseRSAPublicKeyFromPEM(pem)
	case *jwt.SigningMethodECDSA:
		return jwt.ParseECPublicKeyFromPEM(pem)
	}
	return jwt.ParseEdPublicKeyFromPEM(pem)
}

// claims are the content of a token, as etcd's.
type claims struct {
	User     string `json:"username"`
	Revision uint64 `json:"revision"`
	jwt.RegisteredClaims
}

// issue returns a token.
func (k *jwtKeys) issue(user string, revision uint64) (string, error) {
	if k.private == nil {
		return "", fmt.Errorf("%w: this member has no priv-key to sign tokens", ErrOptions)
	}
	expires := jwt.NewNumericDate(time.Now().Add(k.ttl))
	return jwt.NewWithClaims(k.method, claims{user, revision, jwt.RegisteredClaims{ExpiresAt: expires}}).SignedString(k.private)
}

// verify returns the user of a token. A token without an end is refused.
func (k *jwtKeys) verify(token string) (Identity, error) {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return k.public, nil },
		jwt.WithValidMethods([]string{k.method.Alg()}), jwt.WithExpirationRequired())
	if err != nil || c.User == "" || c.Revision == 0 {
		return Identity{}, ErrToken
	}
	return Identity{c.User, c.Revision}, nil
}
