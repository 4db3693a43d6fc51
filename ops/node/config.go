package node

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/flotillakv/flotilla/gateway"
	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/store"
)

// Config is a whole node. Zero fields take the defaults of the part that they
// belong to.
type Config struct {
	// DataDir is the node's data directory.
	DataDir string
	// ListenAPI is the address of the API. Default 127.0.0.1:7700.
	ListenAPI string
	// ListenOps is the address of the operators' port. Default 127.0.0.1:7703.
	ListenOps string
	// ListenEtcd is the address of the etcd v3 API. Default 127.0.0.1:2379.
	ListenEtcd string
	// AdvertiseEtcd is the host and port under which clients reach the etcd v3
	// API. Default where it listens, with this host's name if that is every
	// address.
	AdvertiseEtcd string
	// EtcdPortOptional takes a free port if the one of ListenEtcd is taken.
	EtcdPortOptional bool
	// EtcdTLS encrypts the etcd v3 API if its files are set.
	EtcdTLS EtcdTLS
	// DataShards is how many shards hold tenants' namespaces, beside the
	// system shard. It is fixed by the first start: by default it is what that
	// said, and 4 in a new directory.
	DataShards int

	Gateway gateway.Config
	// Etcd is how the etcd v3 API is served; the node fills in who it is.
	Etcd   etcd.Config
	Shards shards.Config
	Store  store.Config
	// Disk is when the node turns read-only for want of space.
	Disk datadir.Watermark

	Log *slog.Logger
}

// WithDefaults fills the zero fields.
func (c Config) WithDefaults() Config {
	c.ListenAPI = cmp.Or(c.ListenAPI, "127.0.0.1:7700")
	c.ListenOps = cmp.Or(c.ListenOps, "127.0.0.1:7703")
	c.ListenEtcd = cmp.Or(c.ListenEtcd, "127.0.0.1:2379")
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate names every field that cannot be, by its flag.
func (c Config) Validate() error {
	var errs []error
	if c.DataDir == "" {
		errs = append(errs, errors.New("--data-dir is missing"))
	}
	errs = append(errs, checkAddress("--listen-api", c.ListenAPI), checkAddress("--listen-ops", c.ListenOps),
		c.checkEtcdAddress(), c.checkAdvertised(), c.EtcdTLS.files().Validate())
	if c.DataShards < 0 || c.DataShards > 64 {
		errs = append(errs, fmt.Errorf("--data-shards is %d, and takes 1 to 64", c.DataShards))
	}
	return errors.Join(errs...)
}

// checkEtcdAddress lets others reach the etcd v3 API only if it is encrypted.
func (c Config) checkEtcdAddress() error {
	if c.EtcdTLS.CertFile == "" {
		return checkAddress("--listen-etcd", c.ListenEtcd)
	}
	if _, _, err := net.SplitHostPort(c.ListenEtcd); err != nil {
		return fmt.Errorf("--listen-etcd is %q, and takes host:port, such as 127.0.0.1:2379", c.ListenEtcd)
	}
	return nil
}

// checkAdvertised refuses what leads clients nowhere.
func (c Config) checkAdvertised() error {
	if c.AdvertiseEtcd == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.AdvertiseEtcd)
	if ip := net.ParseIP(host); err != nil || host == "" || port == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("--advertise-etcd is %q, and takes host:port that clients can reach, such as n1.example.com:2379", c.AdvertiseEtcd)
	}
	return nil
}

// checkAddress lets only loopback addresses through: nothing here is encrypted,
// so nothing may be reached from outside.
func checkAddress(flag, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s is %q, and takes host:port, such as 127.0.0.1:7700", flag, address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is %q, which others can reach, and the connection is not encrypted: use a loopback address", flag, address)
	}
	return nil
}
