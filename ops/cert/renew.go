package cert

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// RenewNode replaces a node's certificate by one that is valid from now on, of the
// same key and, unless others are given, for the same hosts. The file is replaced
// at once, so a node may read it at any time. Its error wraps fs.ErrNotExist if
// there is none to renew.
func (a *Authority) RenewNode(name string, hosts []string, valid time.Duration) (Files, error) {
	files := NodeFiles(a.dir, name)
	old, key, err := readPair(files)
	if err != nil {
		return Files{}, fmt.Errorf("renew the certificate of node %s: %w", name, err)
	}
	if len(hosts) == 0 {
		hosts = hostsOf(old)
	}
	template, err := a.node(name, hosts, valid)
	if err != nil {
		return Files{}, err
	}
	der, err := a.sign(template, &key.PublicKey)
	if err != nil {
		return Files{}, err
	}
	return files, replace(files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func hostsOf(cert *x509.Certificate) []string {
	hosts := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}
