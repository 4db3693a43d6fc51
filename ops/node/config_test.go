package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConfigIsChecked: each wrong setting is told by the flag that sets it.
func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	certificate := CertFiles{CertFile: "n.crt", KeyFile: "n.key"}
	for name, test := range map[string]struct {
		change func(*Config)
		want   string // "" for none
	}{
		"as it is":                 {func(*Config) {}, ""},
		"no directory":             {func(c *Config) { c.DataDir = "" }, "--data-dir"},
		"a name with a space":      {func(c *Config) { c.Name = "n 1" }, "--node-name"},
		"a zone with a slash":      {func(c *Config) { c.Zone = "eu/1" }, "--zone"},
		"too many shards":          {func(c *Config) { c.DataShards = 1000 }, "--data-shards"},
		"an even number of voters": {func(c *Config) { c.Replication = 2 }, "--replicas"},
		"replaced at once":         {func(c *Config) { c.ReplaceAfter = time.Second }, "--replace-after"},
		"both ways in":             {func(c *Config) { c.Bootstrap, c.Join = true, []string{"n:1"} }, "--bootstrap makes a new cluster and --join"},
		"a join without a port":    {func(c *Config) { c.Join = []string{"n2"} }, `--join has "n2"`},
		"a join without a port of its own": {func(c *Config) {
			c.Join, c.ListenPeer = []string{"n2:7701"}, ""
		}, "--listen-peer"},
		"a host without Raft":       {func(c *Config) { c.ListenRaft = "" }, "--listen-raft"},
		"a gateway without Raft":    {func(c *Config) { c.ListenRaft, c.GatewayOnly = "", true }, ""},
		"a gateway as first node":   {func(c *Config) { c.GatewayOnly, c.Bootstrap = true, true }, "--roles"},
		"the API for all":           {func(c *Config) { c.ListenAPI = "0.0.0.0:7700" }, "--listen-api"},
		"the API for all, TLS":      {func(c *Config) { c.ListenAPI, c.TLS.API = "0.0.0.0:7700", certificate }, ""},
		"the API for all, insecure": {func(c *Config) { c.ListenAPI, c.Insecure = "0.0.0.0:7700", true }, ""},
		"etcd for all":              {func(c *Config) { c.ListenEtcd = ":2379" }, "--listen-etcd"},
		"the operators' for all":    {func(c *Config) { c.ListenOps = "10.0.0.1:7703" }, "--listen-ops"},
		"peers for all":             {func(c *Config) { c.ListenPeer = "10.0.0.1:7701" }, "--listen-peer"},
		"Raft for all":              {func(c *Config) { c.ListenRaft = "n1.example.com:7702" }, "--listen-raft"},
		"both for all, TLS": {func(c *Config) {
			c.ListenPeer, c.ListenRaft, c.TLS.Cluster = "10.0.0.1:7701", "10.0.0.1:7702", CertFiles{"n.crt", "n.key", "ca.crt"}
		}, ""},
		"no port":                {func(c *Config) { c.ListenAPI = "127.0.0.1" }, "--listen-api"},
		"advertised nowhere":     {func(c *Config) { c.AdvertiseEtcd = "0.0.0.0:2379" }, "--advertise-etcd"},
		"advertised nowhere, 6":  {func(c *Config) { c.AdvertiseEtcd = "[::]:2379" }, "--advertise-etcd"},
		"advertised nobody":      {func(c *Config) { c.AdvertiseAPI = ":7700" }, "--advertise-api"},
		"advertised without one": {func(c *Config) { c.AdvertisePeer = "n1.example.com" }, "--advertise-peer"},
		"advertised empty":       {func(c *Config) { c.AdvertiseRaft = "n1.example.com:" }, "--advertise-raft"},
		"advertised":             {func(c *Config) { c.AdvertiseRaft = "n1.example.com:7702" }, ""},
		"a proxy by name":        {func(c *Config) { c.TrustedProxies = []string{"10.0.0.1", "lb"} }, `--trusted-proxies: "lb" is no address`},
		"everybody as a proxy":   {func(c *Config) { c.TrustedProxies = []string{"0.0.0.0/0"} }, "--trusted-proxies"},
		"proxies":                {func(c *Config) { c.TrustedProxies = []string{"10.0.0.0/8", "2001:db8::1"} }, ""},
		"a certificate alone":    {func(c *Config) { c.TLS.Ops = CertFiles{CertFile: "n.crt"} }, "--ops-cert-file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{
				DataDir: "d", Name: "n1",
				Addresses: Addresses{ListenPeer: "127.0.0.1:7701", ListenRaft: "127.0.0.1:7702"},
			}.WithDefaults()
			test.change(&cfg)
			err := cfg.Validate()
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}
