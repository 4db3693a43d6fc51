package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// AuthEnable implements Auth: it is refused.
func (*authServer) AuthEnable(context.Context, *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	return nil, unmanaged("AuthEnable")
}

// AuthDisable implements Auth: it is refused.
func (*authServer) AuthDisable(context.Context, *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	return nil, unmanaged("AuthDisable")
}

// UserAdd implements Auth: it is refused.
func (*authServer) UserAdd(context.Context, *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	return nil, unmanaged("UserAdd")
}

// UserGet implements Auth: it is refused.
func (*authServer) UserGet(context.Context, *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	return nil, unmanaged("UserGet")
}

// UserList implements Auth: it is refused.
func (*authServer) UserList(context.Context, *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	return nil, unmanaged("UserList")
}

// UserDelete implements Auth: it is refused.
func (*authServer) UserDelete(context.Context, *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	return nil, unmanaged("UserDelete")
}

// UserChangePassword implements Auth: it is refused.
func (*authServer) UserChangePassword(context.Context, *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	return nil, unmanaged("UserChangePassword")
}

// UserGrantRole implements Auth: it is refused.
func (*authServer) UserGrantRole(context.Context, *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	return nil, unmanaged("UserGrantRole")
}

// UserRevokeRole implements Auth: it is refused.
func (*authServer) UserRevokeRole(context.Context, *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	return nil, unmanaged("UserRevokeRole")
}

// RoleAdd implements Auth: it is refused.
func (*authServer) RoleAdd(context.Context, *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	return nil, unmanaged("RoleAdd")
}

// RoleGet implements Auth: it is refused.
func (*authServer) RoleGet(context.Context, *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	return nil, unmanaged("RoleGet")
}

// RoleList implements Auth: it is refused.
func (*authServer) RoleList(context.Context, *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	return nil, unmanaged("RoleList")
}

// RoleDelete implements Auth: it is refused.
func (*authServer) RoleDelete(context.Context, *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	return nil, unmanaged("RoleDelete")
}

// RoleGrantPermission implements Auth: it is refused.
func (*authServer) RoleGrantPermission(context.Context, *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	return nil, unmanaged("RoleGrantPermission")
}

// RoleRevokePermission implements Auth: it is refused.
func (*authServer) RoleRevokePermission(context.Context, *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	return nil, unmanaged("RoleRevokePermission")
}
