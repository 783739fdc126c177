# make install: headers, libraries, pkg-config files, CMake package with moejit::moejit, moejit::moejit_checkpoint and
# their _static.
install(TARGETS moejit moejit_static moejit_checkpoint moejit_checkpoint_static EXPORT moejitTargets)
install(FILES include/moejit/moejit.h include/moejit/checkpoint.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/moejit)

set(CMAKE_PACKAGE ${CMAKE_INSTALL_LIBDIR}/cmake/moejit)
install(EXPORT moejitTargets NAMESPACE moejit:: DESTINATION ${CMAKE_PACKAGE})
configure_package_config_file(cmake/moejitConfig.cmake.in moejitConfig.cmake INSTALL_DESTINATION ${CMAKE_PACKAGE})
write_basic_package_version_file(moejitConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/moejitConfig.cmake ${PROJECT_BINARY_DIR}/moejitConfigVersion.cmake DESTINATION ${CMAKE_PACKAGE})

# The pkg-config file finds its prefix from where it lies.
file(RELATIVE_PATH PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/moejit.pc.in moejit.pc @ONLY)
configure_file(cmake/moejit_checkpoint.pc.in moejit_checkpoint.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/moejit.pc ${PROJECT_BINARY_DIR}/moejit_checkpoint.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
