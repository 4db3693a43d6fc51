package catalog

import (
	"maps"
	"strings"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// emptyDirectory has maps that records can be put into.
func emptyDirectory() *internalv1.Directory {
	return &internalv1.Directory{
		Nodes:      make(map[string]*internalv1.NodeRecord),
		Placements: make(map[uint64]*internalv1.PlacementRecord),
		Cluster:    &internalv1.ClusterRecord{},
	}
}

// shallowCopy is a copy whose maps may be changed, but not the records.
func shallowCopy(d *internalv1.Directory) *internalv1.Directory {
	next := emptyDirectory()
	maps.Copy(next.Nodes, d.GetNodes())
	maps.Copy(next.Placements, d.GetPlacements())
	next.Cluster = d.GetCluster()
	return next
}

// sameDirectory tells whether two directories tell the same, whenever they were
// read. The number of the next namespace, which is in the cluster's record too,
// concerns nobody.
func sameDirectory(a, b *internalv1.Directory) bool {
	strip := func(d *internalv1.Directory) *internalv1.Directory {
		d = shallowCopy(d)
		d.Cluster = proto.CloneOf(d.GetCluster())
		d.Cluster.NextNamespaceId = 0
		return d
	}
	return proto.Equal(strip(a), strip(b))
}

// inDirectory tells whether a key's record belongs into a directory.
func inDirectory(key []byte) bool {
	k := string(key)
	return k == clusterKey || strings.HasPrefix(k, nodesPrefix) || strings.HasPrefix(k, placementsPrefix)
}

// setRecord puts the record of a key into a directory, or takes it out. A record
// that cannot be decoded leaves the one before.
func setRecord(d *internalv1.Directory, key, value []byte, remove bool) error {
	if id, ok := strings.CutPrefix(string(key), nodesPrefix); ok {
		return setIn(d.GetNodes(), id, "node", value, remove, &internalv1.NodeRecord{})
	}
	if name, ok := strings.CutPrefix(string(key), placementsPrefix); ok {
		id, err := parseShard(name)
		if err != nil {
			return err
		}
		return setIn(d.GetPlacements(), uint64(id), "placement", value, remove, &internalv1.PlacementRecord{})
	}
	cluster, err := decode("cluster", value, &internalv1.ClusterRecord{})
	if err == nil && !remove {
		d.Cluster = cluster
	}
	return err
}

func setIn[K comparable, M proto.Message](records map[K]M, id K, kind string, value []byte, remove bool, into M) error {
	if remove {
		delete(records, id)
		return nil
	}
	message, err := decode(kind, value, into)
	if err == nil {
		records[id] = message
	}
	return err
}
