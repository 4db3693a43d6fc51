// Package tlsfiles makes TLS configurations from the files that an operator
// names, and reads a certificate again when its files change, so that it is
// replaced without a restart. What is wrong with a file is told with the flag
// that named it and with what to do.
//
//	files, err := tlsfiles.InDir(tlsfiles.Setting{Flag: "--cert-dir", Value: dir}, name)
//	identity, err := tlsfiles.Load(files, tlsfiles.Env{Now: time.Now, Log: log})
//	server, client, err := identity.Nodes() // ports between nodes
//	api := identity.API()                   // ports whose callers show no certificate
//	etcd := identity.Etcd()                 // callers may show one
//
// The authority is read once: to replace it, put both the old and the new one
// into the file, restart each node, and replace the nodes' certificates.
package tlsfiles

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/flotillakv/flotilla/ops/cert"
)

// A Setting is a flag, such as --cert-file, and the value that it has.
type Setting struct{ Flag, Value string }

// Files are where a node's certificate is, all in PEM.
type Files struct {
	// Cert and Key are the certificate and its key; others that vouch for the
	// certificate may follow it.
	Cert, Key Setting
	// CA is the authority, or several. Between nodes it vouches for all of
	// them; for the etcd v3 API, for the clients that are let in. It may be
	// empty for ports that ask for no certificates.
	CA Setting
}

// Validate names the settings that need each other.
func (f Files) Validate() error {
	switch {
	case (f.Cert.Value == "") != (f.Key.Value == ""):
		return fmt.Errorf("%s and %s go together", f.Cert.Flag, f.Key.Flag)
	case f.CA.Value != "" && f.Cert.Value == "":
		return fmt.Errorf("%s needs %s", f.CA.Flag, f.Cert.Flag)
	}
	return nil
}

// InDir are the files of a directory as 'flotilla cert' writes them: the
// authority, and the certificate of the named node. If no node is named there
// must be one only.
func InDir(dir, node Setting) (Files, error) {
	name := node.Value
	if name == "" {
		names, err := cert.NodesIn(dir.Value)
		switch {
		case err != nil:
			return Files{}, &FileError{Flag: dir.Flag, Path: dir.Value, Err: err, Advice: adviceMake}
		case len(names) == 0:
			return Files{}, &FileError{Flag: dir.Flag, Path: dir.Value, Err: errors.New("it holds no certificate of a node"), Advice: adviceMake}
		case len(names) > 1:
			return Files{}, &FileError{
				Flag: dir.Flag, Path: dir.Value, Err: fmt.Errorf("it holds the certificates of %s", strings.Join(names, ", ")),
				Advice: fmt.Sprintf("say which is this node's by %s", node.Flag),
			}
		}
		name = names[0]
	}
	own := cert.NodeFiles(dir.Value, name)
	return Files{
		Cert: Setting{dir.Flag, own.Cert}, Key: Setting{dir.Flag, own.Key},
		CA: Setting{dir.Flag, cert.AuthorityFile(dir.Value)},
	}, nil
}

const (
	adviceMake = "make one with 'flotilla cert node NAME --host HOST'"
	adviceCA   = "make one with 'flotilla cert ca'"
)

// A FileError is a file that is not what its flag needs.
type FileError struct {
	// Flag named the file, and Path is where it is.
	Flag, Path string
	// Err is what is wrong.
	Err error
	// Advice is what to do.
	Advice string
}

func (e *FileError) Error() string {
	if _, ok := errors.AsType[*os.PathError](e.Err); ok { // it tells the path itself
		return fmt.Sprintf("%s: %v: %s", e.Flag, e.Err, e.Advice)
	}
	return fmt.Sprintf("%s: %s: %v: %s", e.Flag, e.Path, e.Err, e.Advice)
}

func (e *FileError) Unwrap() error { return e.Err }

// wrong is an error about a setting's file.
func (s Setting) wrong(err error, advice string) error {
	return &FileError{Flag: s.Flag, Path: s.Value, Err: err, Advice: advice}
}
