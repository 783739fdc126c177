# make install: header, both libraries, pkg-config file, CMake package moejit::moejit and moejit::moejit_static.
install(TARGETS moejit moejit_static EXPORT moejitTargets)
install(FILES include/moejit/moejit.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/moejit)

set(CMAKE_PACKAGE ${CMAKE_INSTALL_LIBDIR}/cmake/moejit)
install(EXPORT moejitTargets NAMESPACE moejit:: DESTINATION ${CMAKE_PACKAGE})
configure_package_config_file(cmake/moejitConfig.cmake.in moejitConfig.cmake INSTALL_DESTINATION ${CMAKE_PACKAGE})
write_basic_package_version_file(moejitConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/moejitConfig.cmake ${PROJECT_BINARY_DIR}/moejitConfigVersion.cmake DESTINATION ${CMAKE_PACKAGE})

# The pkg-config file finds its prefix from where it lies.
file(RELATIVE_PATH PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/moejit.pc.in moejit.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/moejit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
