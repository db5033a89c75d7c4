//go:build !wasip1

package member

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
)

// revoked are the revoked certificates.
type revoked map[certificate]bool

// certificate names a certificate by its issuer's name and its serial number.
type certificate struct{ issuer, serial string }

// errRevoked is the error of a connection with a revoked certificate.
var errRevoked = errors.New("the certificate was revoked")

// readRevoked reads a file of lists of revoked certificates, in PEM, or one list in DER.
// Each list has to be signed by one of the authorities. A list counts until another one
// replaces the list, also when the time of the next list is over.
func readRevoked(file string, authorities []*x509.Certificate) (revoked, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lists [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "X509 CRL" {
			lists = append(lists, block.Bytes)
		}
	}
	if len(lists) == 0 {
		lists = [][]byte{data}
	}
	all := make(revoked)
	for _, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("%s has no list of revoked certificates: %w", file, err)
		}
		if !slices.ContainsFunc(authorities, func(a *x509.Certificate) bool {
			return string(a.RawSubject) == string(list.RawIssuer) && list.CheckSignatureFrom(a) == nil
		}) {
			return nil, fmt.Errorf("%s has a list of %q, which no authority of the clients has signed", file, list.Issuer)
		}
		for _, entry := range list.RevokedCertificateEntries {
			all[certificate{string(list.RawIssuer), entry.SerialNumber.String()}] = true
		}
	}
	return all, nil
}

// check refuses a connection if each chain to an authority has a revoked certificate.
func (r revoked) check(state tls.ConnectionState) error {
	for _, chain := range state.VerifiedChains {
		if !slices.ContainsFunc(chain, func(c *x509.Certificate) bool {
			return r[certificate{string(c.RawIssuer), c.SerialNumber.String()}]
		}) {
			return nil
		}
	}
	return errRevoked
}
