// Package pki makes the certificates of a cluster: an authority, and certificates
// that the authority signs.
//
//	ca, err := pki.NewAuthority("orders", 10*365*24*time.Hour)
//	pair, err := ca.Issue(pki.Request{Name: "host 1", Hosts: []string{"10.0.0.1"}, Lifetime: time.Hour})
//	err = pair.Write("host1.pem", "host1.key")
//
// Keys are ECDSA keys on the curve P-256. Files are in PEM, a key's file in PKCS #8.
// The package has no state, and goroutines may share an [Authority].
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"time"
)

// backdate is how long before its making a certificate becomes valid. The clocks of
// two machines may differ by as much.
const backdate = 5 * time.Minute

// ErrRequest is matched by the error of a request that no certificate can carry out.
var ErrRequest = errors.New("wrong request for a certificate")

// A Pair is a certificate and its private key, in PEM.
type Pair struct {
	Cert, Key []byte
}

// Write makes two new files. The key's file has mode 0600. If one of the files
// exists, the error matches fs.ErrExist, and both stay as they were.
func (p Pair) Write(certFile, keyFile string) error {
	if _, err := os.Lstat(certFile); err == nil {
		return &fs.PathError{Op: "create", Path: certFile, Err: fs.ErrExist}
	}
	if err := writeNew(keyFile, p.Key, 0o600); err != nil {
		return err
	}
	if err := writeNew(certFile, p.Cert, 0o644); err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	return nil
}

func writeNew(name string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// An Authority signs certificates.
type Authority struct {
	Pair

	cert *x509.Certificate
	key  crypto.Signer
}

// NewAuthority makes an authority with a certificate that the authority itself signs.
func NewAuthority(name string, lifetime time.Duration) (*Authority, error) {
	template, err := newTemplate(name, lifetime)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.MaxPathLenZero = true // no authority below this one
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	pair, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	cert, err := parse(pair.Cert)
	if err != nil {
		return nil, err
	}
	return &Authority{Pair: pair, cert: cert, key: key}, nil
}

// LoadAuthority reads the files of an authority.
func LoadAuthority(certFile, keyFile string) (*Authority, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("pki: reading %s and %s: %w", certFile, keyFile, err)
	}
	leaf, err := parse(cert)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", certFile, err)
	}
	if !leaf.IsCA {
		return nil, fmt.Errorf("pki: the certificate in %s is not an authority's", certFile)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("pki: the key in %s cannot sign", keyFile)
	}
	return &Authority{Pair: Pair{cert, key}, cert: leaf, key: signer}, nil
}

// Expires returns the end of the authority's certificate.
func (a *Authority) Expires() time.Time { return a.cert.NotAfter }

// A Request describes a certificate.
type Request struct {
	// Name is the subject's common name. A server may take the common name as the
	// name of a user.
	Name string
	// Hosts are the DNS names and IP addresses of a server.
	Hosts []string
	// URI is another name of the subject, for instance tcp.HostURI. It may be nil.
	URI *url.URL
	// Lifetime is how long the certificate is valid, at most to the end of the
	// authority's.
	Lifetime time.Duration
}

// Issue makes a key and a certificate, good for clients and for servers. The
// certificate's file ends with the authority's certificate.
func (a *Authority) Issue(r Request) (Pair, error) {
	template, err := newTemplate(r.Name, r.Lifetime)
	if err != nil {
		return Pair{}, err
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if r.URI != nil {
		template.URIs = []*url.URL{r.URI}
	}
	for _, host := range r.Hosts {
		if host == "" {
			return Pair{}, fmt.Errorf("pki: %w: a host's name is empty", ErrRequest)
		}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("pki: %w", err)
	}
	pair, err := sign(template, a.cert, key, a.key)
	pair.Cert = append(pair.Cert, a.Cert...)
	return pair, err
}

func newTemplate(name string, lifetime time.Duration) (*x509.Certificate, error) {
	if name == "" {
		return nil, fmt.Errorf("pki: %w: the name is empty", ErrRequest)
	}
	if lifetime <= 0 {
		return nil, fmt.Errorf("pki: %w: a lifetime of %v; want more than 0", ErrRequest, lifetime)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(lifetime),
	}, nil
}

func sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return Pair{}, fmt.Errorf("pki: %w: %w", ErrRequest, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("pki: %w", err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// parse returns the first certificate in PEM.
func parse(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("pki: no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	return cert, nil
}
