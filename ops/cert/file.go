package cert

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	authorityName = "ca"
	nodePrefix    = "node-"
	clientPrefix  = "client-"
	certSuffix    = ".crt"
)

// Files are where a certificate and its key are.
type Files struct{ Cert, Key string }

func filesOf(dir, name string) Files {
	return Files{Cert: filepath.Join(dir, name+certSuffix), Key: filepath.Join(dir, name+".key")}
}

// AuthorityFile is where the certificate of a directory's authority is.
func AuthorityFile(dir string) string { return filesOf(dir, authorityName).Cert }

// NodeFiles are where a node's certificate is in a directory.
func NodeFiles(dir, name string) Files { return filesOf(dir, nodePrefix+name) }

// NodesIn lists the nodes whose certificates are in a directory, by name.
func NodesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		base, isCert := strings.CutSuffix(entry.Name(), certSuffix)
		if name, isNode := strings.CutPrefix(base, nodePrefix); isCert && isNode {
			names = append(names, name)
		}
	}
	return names, nil
}

// readPair reads a certificate with its key.
func readPair(files Files) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certPEM, err := os.ReadFile(files.Cert)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(files.Key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := parseCert(certPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", files.Cert, err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", files.Key, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of %s", files.Key, files.Cert)
	}
	return cert, key, nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("it holds no private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("its key is a %T, not an ECDSA one", key)
	}
	return ec, nil
}

// writeNew writes a file that must not be there yet.
func writeNew(path, kind string, der []byte, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write a new file: %w", err)
	}
	return errors.Join(pem.Encode(file, &pem.Block{Type: kind, Bytes: der}), file.Close())
}

// replace puts a file that everybody may read in the place of another, at once.
func replace(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write a new file: %w", err)
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("replace %s: %w", path, err), os.Remove(file.Name()))
	}
	return nil
}
